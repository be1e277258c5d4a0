"""Tracks: all that a kind of data needs around the one trainer. Only tracks hold the hidden truth.

Imported lazily because torch is slow to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.tracks.base import Track
    from robustcmr.tracks.build import build_track
    from robustcmr.tracks.labels import LabelsTrack
    from robustcmr.tracks.pairs import PairsTrack

__all__ = ["LabelsTrack", "PairsTrack", "Track", "build_track"]

__getattr__, __dir__ = attach(
    __name__, {"LabelsTrack": "labels", "PairsTrack": "pairs", "Track": "base", "build_track": "build"}
)
