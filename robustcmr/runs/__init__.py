"""What a run leaves on disk: its folder, written and read."""
