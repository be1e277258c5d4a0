"""Similarity models: two sets of fragments in, a score matrix out. No loss, no noise."""
