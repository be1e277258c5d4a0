"""Published methods, one short file each, composed of the rooms below them."""
