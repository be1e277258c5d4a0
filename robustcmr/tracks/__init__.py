"""Tracks: what a kind of data needs around the one trainer. It builds the data, measures a split, keeps the truth."""
