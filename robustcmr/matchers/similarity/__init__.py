"""Similarity vectors of image-caption pairs: how they are made, tile by tile, and turned into scores."""
