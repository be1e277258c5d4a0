"""Grids of runs: plan them, run them side by side, resume after any stop, and report their progress."""
