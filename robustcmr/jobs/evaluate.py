"""Measure finished runs on a split, alone or as an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from robustcmr.errors import ConfigError
from robustcmr.jobs.open import load_run
from robustcmr.matchers.base import Matcher
from robustcmr.tracks.base import Track
from robustcmr.tracks.build import evaluate_ensemble


def evaluate(
    paths: Sequence[Path],
    split: str,
    folds: int | None = None,
    checkpoint: str = "best",
    device: str | None = None,
) -> dict[str, Any]:
    """Measure a split with one run, or with several as an ensemble whose scores are averaged.

    Args:
        paths: run folders; all must have been trained for the same data.
        split: which split to measure.
        folds: average over that many consecutive parts; None measures the whole split.
        checkpoint: ``best`` or ``last``.
        device: where to compute; each run's own setting when None.

    Returns:
        The measures with their provenance: ``runs``, ``track``, ``n_models``, ``split``, ``data_fingerprint``
        and so on.

    Raises:
        UserError: a run, its checkpoint or the split is missing, or the runs are of different data or tracks.
    """
    parts: list[tuple[Track, list[Matcher]]] = []
    accelerator: Accelerator | None = None
    for path in paths:  # all members compute where, and as exactly as, the first was set to
        loaded = load_run(path, checkpoint, device, accelerator)
        accelerator = loaded.accelerator
        if split not in loaded.track.splits():
            raise ConfigError(
                f"there is no {split} split here, the data has {', '.join(loaded.track.splits())}; "
                "use --split"
            )
        parts.append((loaded.track, loaded.matchers))
    if accelerator is None:
        raise ConfigError("no run folder was given; name at least one")
    measured = evaluate_ensemble(parts, split, accelerator.device, folds)
    return {"runs": [str(path) for path in paths], "checkpoint": checkpoint, **measured}
