"""Train image-text matchers on partly mismatched pairs, and find the mismatches."""

from __future__ import annotations

__version__ = "0.2.0"
