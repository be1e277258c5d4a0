"""The one error this package raises for a mistake of its user."""

from __future__ import annotations


class NoiseError(ValueError):
    """A noise setting or noise file does not fit; its message is one sentence saying what to do."""
