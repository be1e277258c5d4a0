"""Training methods, one short file each, composed of losses, selection, correction and transport."""
