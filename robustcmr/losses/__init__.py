"""Losses as pure functions of a score matrix, one value a pair."""
