"""Tracks: what a kind of data needs around the one trainer, from building it to keeping the truth."""
