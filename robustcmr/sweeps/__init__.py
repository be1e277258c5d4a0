"""Grids of runs: plan them, run them side by side, go on after any stop, and say where each stands."""
