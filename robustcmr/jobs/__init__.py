"""Whole jobs, for the command line and for Python."""
