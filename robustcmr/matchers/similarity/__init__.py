"""Similarity vectors of image-caption pairs, computed and scored tile by tile."""
