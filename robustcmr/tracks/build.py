"""Build the track of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from robustcmr.config.resolve import RunConfig
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.base import Track
from robustcmr.tracks.labels import LabelsTrack
from robustcmr.tracks.pairs import PairsTrack

TRACKS: Mapping[str, type[Track]] = MappingProxyType(
    {track.name: track for track in (PairsTrack, LabelsTrack)}
)


def build_track(config: RunConfig, saved: RunFolder | None = None) -> Track:
    """Build the track of a run's data set; see :meth:`Track.build`."""
    kind: str = config.data.cls.track  # type: ignore[attr-defined]  # the registry checked the class
    return TRACKS[kind].build(config, saved)
