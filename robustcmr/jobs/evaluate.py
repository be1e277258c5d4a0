"""Measure finished runs on a split, alone or as an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from robustcmr.errors import ConfigError, DataError
from robustcmr.jobs.open import open_run
from robustcmr.matchers.base import Matcher
from robustcmr.tracks.base import Track


def evaluate(
    paths: Sequence[Path],
    split: str,
    folds: int | None = None,
    checkpoint: str = "best",
    device: str | None = None,
    trusted: bool = False,
) -> dict[str, Any]:
    """Measure a split with one run, or with several as an ensemble whose scores are averaged.

    Args:
        paths: run folders, all on the same data.
        split: which split.
        folds: measure this many consecutive parts and average; None measures the whole split.
        checkpoint: ``best`` or ``last``.
        device: where to compute; the first run's own setting if None.
        trusted: import the ``package.module:Class`` that runs name, even if they were not trained here.

    Returns:
        The measures with their provenance, such as ``runs``, the ``epochs`` of their weights (None if
        unknown), ``n_models`` and ``data_fingerprint``.

    Raises:
        UserError: a run, its checkpoint or the split is missing, or the runs differ in data or track.

    Example:
        >>> evaluate([Path("runs/a"), Path("runs/b")], "test")["metrics"]["rsum"]  # doctest: +SKIP
        412.3
    """
    parts: list[tuple[Track, list[Matcher]]] = []
    epochs: list[int | None] = []
    accelerator: Accelerator | None = None
    for path in paths:  # all on the device and in the precision of the first
        loaded = open_run(
            path, checkpoint=checkpoint, device=device, accelerator=accelerator, trusted=trusted
        )
        accelerator = loaded.accelerator
        if split not in loaded.track.splits():
            raise ConfigError(
                f"there is no {split} split here, the data has {', '.join(loaded.track.splits())}; "
                f"choose one of them, such as --split {loaded.track.splits()[-1]}"
            )
        parts.append((loaded.track, loaded.matchers))
        epochs.append(loaded.epoch)
    if accelerator is None:
        raise ConfigError("no run folder was given; name at least one")
    measured = evaluate_ensemble(parts, split, accelerator.device, folds)
    runs = [str(path) for path in paths]
    return {"runs": runs, "checkpoint": checkpoint, "epochs": epochs, **measured}


def evaluate_ensemble(
    parts: Sequence[tuple[Track, Sequence[Matcher]]],
    split: str,
    device: torch.device,
    folds: int | None = None,
) -> dict[str, Any]:
    """Measure a split with the mean score of several matchers, given with their tracks; see :func:`evaluate`.

    Raises:
        DataError: there is no such split, or the runs differ in data or track.
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
