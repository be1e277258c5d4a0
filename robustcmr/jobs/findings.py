"""What a run's method came to believe of its training pairs: files, pictures and measures, by track."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from robustcmr.errors import PluginError
from robustcmr.reporting.confusion_plot import plot_confusion
from robustcmr.reporting.evidence_plot import plot_evidence
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.labels_table import LabelsTable, write_labels
from robustcmr.runs.pairs_table import write_pairs
from robustcmr.tracks.base import Track
from robustcmr.tracks.labels import LabelsTrack
from robustcmr.tracks.pairs import PairsTrack
from robustcmr.training import processes
from robustcmr.training.loop import Trainer
from robustcmr.types import Division, LabelEstimate


def report_findings(track: Track, trainer: Trainer, run: RunFolder) -> dict[str, Any]:
    """Ask the method what it believes with its best epoch, and write it down.

    Args:
        track: of the data.
        trainer: with the best epoch's weights.
        run: where ``pairs.csv`` or ``labels.csv`` and the pictures go.

    Returns:
        ``beliefs`` for the results, with how true they are as far as that is known; empty where the method
        holds none.

    Raises:
        PluginError: the method believes something of another track.
        UserError: a file cannot be written.
    """
    belief = trainer.method.estimate(trainer.scorer(trainer.settings.training.epochs))
    if belief is None:
        return {}
    if isinstance(track, PairsTrack) and isinstance(belief, Division):
        return {"beliefs": _report_division(track, belief, trainer, run)}
    if isinstance(track, LabelsTrack) and isinstance(belief, LabelEstimate):
        return {"beliefs": _report_labels(track, belief, run)} if processes.is_writer() else {}
    raise PluginError(
        f"{type(trainer.method).__name__}.estimate gave a {type(belief).__name__} on the {track.name} track; "
        "return a Division where pairs may be wrong, a LabelEstimate where classes may be"
    )


def _report_division(
    track: PairsTrack, division: Division, trainer: Trainer, run: RunFolder
) -> dict[str, Any]:
    matcher, scorer = trainer.matchers[0], trainer.scorer(trainer.settings.training.epochs)
    scores = scorer(lambda scores, _: scores.diagonal(), matcher)
    table = track.pairs_table(division, matcher, scores, trainer.accelerator.device)
    if not processes.is_writer():
        return {}
    write_pairs(run.pairs, table)
    plot_evidence(division, run.plots / "evidence.png", track.mismatched())
    judged: Mapping[str, Any] = {
        **track.diagnose(division),
        "rematch": trainer.best_row.get("rematch", {}),
    }
    return {
        "reason": division.reason,
        "suspected": float((~division.is_clean).mean()),
        "noise_rate": division.noise_rate,
        "noise_interval": division.noise_interval,
        **{name: found for name, found in judged.items() if found},
    }


def _report_labels(track: LabelsTrack, belief: LabelEstimate, run: RunFolder) -> dict[str, Any]:
    given = track.training.labels  # (N, M)
    table = LabelsTable(
        pair=np.arange(len(given), dtype=np.int64),
        given=given[:, 0],
        corrected=belief.corrected,
        confidence=belief.confidence,
        class_names=track.class_names,
        given_text=given[:, 1] if given.shape[1] > 1 else None,
        evidence=belief.evidence,
        caption=track.captions,
    )
    write_labels(run.labels, table)
    judged = track.diagnose(belief)
    if "confusion" in judged:  # a row a true class, as the picture has it
        before, after = (
            np.array(judged["confusion"][name], dtype=np.int64).T
            for name in ("given_to_truth", "corrected_to_truth")
        )
        plot_confusion(before, after, track.class_names, run.plots / "confusion.png")
    return {
        "changed": float(table.changed.mean()),
        "confidence": float(belief.confidence.mean()),
        **{name: found for name, found in judged.items() if name == "correction"},
    }
