"""People's own pairs, read from the formats they are kept in and written back in the same."""
