"""Which class makes a track of which data, and several runs measured together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from robustcmr.config.resolve import RunConfig
from robustcmr.errors import DataError
from robustcmr.matchers.base import Matcher
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.base import Track
from robustcmr.tracks.labels import LabelsTrack
from robustcmr.tracks.pairs import PairsTrack

TRACKS: Mapping[str, type[PairsTrack] | type[LabelsTrack]] = MappingProxyType(
    {"pairs": PairsTrack, "labels": LabelsTrack}
)
"""By ``DataSet.track``."""


def build_track(config: RunConfig, saved: RunFolder | None = None) -> Track:
    """Open the data, read or make vocabulary and noise, and hide the truth.

    Args:
        config: the resolved configuration.
        saved: a run folder whose vocabulary and noise are to be used again, as far as they are there.

    Raises:
        UserError: data, vocabulary or noise file do not fit, or features are not finite.
    """
    kind: str = config.data.cls.track  # type: ignore[attr-defined]  # the registry checked the class
    return TRACKS[kind].build(config, saved)


def evaluate_ensemble(
    parts: Sequence[tuple[Track, Sequence[Matcher]]],
    split: str,
    device: torch.device,
    folds: int | None = None,
) -> dict[str, Any]:
    """Measure a split with the mean score of the matchers of several runs, as plain values.

    Args:
        parts: at least one run's track and matchers.
        split: which split; every run must read the same one.
        device: where the matchers are.
        folds: measure that many consecutive parts and average; None measures the whole.

    Raises:
        DataError: there is no such split, or the runs were trained for other data or on different tracks.
    """
    tracks = [track for track, _ in parts]
    names = list(dict.fromkeys(track.name for track in tracks))
    if len(names) > 1:
        raise DataError(
            f"these runs are of different tracks, {' and '.join(names)}, which are measured in different "
            "ways; an ensemble needs runs of the same data"
        )
    fingerprints = list(dict.fromkeys(track.data.fingerprint(split) for track in tracks))
    if len(fingerprints) > 1:
        raise DataError(
            f"these runs are of different data: their {split} splits have the fingerprints "
            f"{', '.join(fingerprints)}; an ensemble needs runs of the same data"
        )
    members = [member for track, matchers in parts for member in track.members(matchers, split)]
    measured = tracks[0].measure(members, split, device, folds)
    return {
        "track": names[0],
        "split": split,
        "protocol_name": measured.protocol,
        "folds": folds,
        "n_models": len(members),
        "data_fingerprint": fingerprints[0],
        "metrics": measured.metrics,
        "by_model": measured.by_model,
        "by_fold": measured.by_fold,
    }
