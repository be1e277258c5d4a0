"""Tracks: all that a kind of data needs around the one trainer. Only tracks hold the hidden truth.

Imported lazily because torch is slow to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.tracks.base import Track as Track
    from robustcmr.tracks.build import build_track as build_track
    from robustcmr.tracks.labels import LabelsTrack as LabelsTrack
    from robustcmr.tracks.pairs import PairsTrack as PairsTrack

__getattr__, __dir__, __all__ = attach(
    __name__, {"base": "Track", "build": "build_track", "labels": "LabelsTrack", "pairs": "PairsTrack"}
)
