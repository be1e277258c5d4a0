"""The error raised for a user's mistake."""

from __future__ import annotations


class NoiseError(ValueError):
    """A setting or file is wrong; the message says in one sentence what was expected and what to do."""
