"""Build the track of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from robustcmr.config.resolve import RunConfig
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.base import Track
from robustcmr.tracks.labels import LabelsTrack
from robustcmr.tracks.pairs import PairsTrack

TRACKS: Mapping[str, type[PairsTrack] | type[LabelsTrack]] = MappingProxyType(
    {"pairs": PairsTrack, "labels": LabelsTrack}
)
"""By ``DataSet.track``."""


def build_track(config: RunConfig, saved: RunFolder | None = None) -> Track:
    """Open the data of a run, read or make its vocabulary and noise, and hide the truth.

    Args:
        config: the resolved configuration.
        saved: a run folder whose vocabulary and noise are reused if they are there.

    Raises:
        UserError: data, vocabulary or noise file do not fit, or features are not finite.
    """
    kind: str = config.data.cls.track  # type: ignore[attr-defined]  # the registry checked the class
    return TRACKS[kind].build(config, saved)
