"""Tracks, what a kind of data needs around the one trainer: building it, measuring a split, keeping the truth."""
