"""Train any image-text matcher on pairs that are partly wrong."""

from __future__ import annotations

__version__ = "0.1.0"
