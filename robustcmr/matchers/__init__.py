"""Similarity models: two sets of fragments in, a score matrix out."""
