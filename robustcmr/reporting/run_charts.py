"""The charts of a run: those saved as PNG when training ends, and those its page shows besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from robustcmr.reporting.charts import SERIES, Chart, Form, histogram, line_chart
from robustcmr.reporting.confusion import confusion_chart
from robustcmr.types import FittedDensity

Rows = Sequence[Mapping[str, Any]]

RECALLS = {
    f"{way} R@{at}": f"{key}_r{at}"
    for way, key in (("image to text", "i2t"), ("text to image", "t2i"))
    for at in (1, 5, 10)
}
"""The recalls of a split: their names, and their keys in its measures."""

DIVISION = {
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "AUROC": "auroc",
    "average precision": "average_precision",
    "accuracy": "accuracy",
}
"""Agreement of suspicions with the truth, by key in ``division``."""

PRECISION_RECALL = (
    "Precision: share of the suspects that are wrong; recall: share of the wrong pairs that are suspected."
)

STARTED = (
    "Estimated as an epoch begins, with the weights of the epoch before; the estimate at the end of the "
    "run is of the best epoch's own weights and differs."
)
"""Which weights the estimates by epoch are of."""

NOISE = {
    "estimated": "noise_rate",
    "interval, lower end": "noise_rate_low",
    "interval, upper end": "noise_rate_high",
    "true": "noise_rate_true",
}
REMATCH = {
    "transport plan": "plan",
    "a random picture": "chance",
    "each picture to its best caption": "row_max",
    "the same, only the surest pictures": "row_max_same_mass",
    "each caption to its best picture": "column_max",
    "upper limit": "reachable",
}
"""Shares of rematched captions that fit, by key in ``rematch``."""

REMATCH_RULES = (
    "Share of the moved mass on pairs that fit, against simpler rules. Only the surest: as many pictures as "
    "the moved mass stands for. Upper limit: captions whose batch holds a picture that fits."
)
DRAWN = {"the picture drawn for it": "plan", "a random picture": "chance"}
"""The same where whole epochs are rematched."""

DRAWN_RULES = "Share of the suspected captions that are true of the picture that the epoch drew for them."

LABELS_RIGHT = {"corrected labels": "corrected_accuracy", "given labels": "given_accuracy"}
CORRECTIONS = {
    "wrong labels repaired": "repaired",
    "right labels broken": "broken",
    "pairs changed": "changed",
    "AUROC of wrong labels": "auroc",
    "average precision of wrong labels": "average_precision",
}
SOLVER: Mapping[str, tuple[str, Form]] = {
    "solver_failed": ("steps whose plan missed the tolerance", "share"),
    "solver_iterations": ("iterations, mean", "number"),
    "solver_error": ("marginal error, mean", "number"),
}
_SHOWN = {"epoch", "loss", "steps", "pairs_seen", "seconds", "suspected", "noise_rate", "moved_mass", *SOLVER}


def epoch_chart(
    rows: Rows,
    title: str,
    keys: Mapping[str, str],
    unit: str,
    form: Form = "number",
    group: str | None = None,
    **options: Any,
) -> Chart | None:
    """Draw measures over epochs.

    Args:
        rows: one mapping an epoch, as in ``metrics.jsonl``.
        title: a heading.
        keys: the key of each line's values, by the line's name; those that no epoch has are left out.
        unit: unit of the values.
        form: how they are written.
        group: the entry of a row that holds the values; None for the row itself. Epochs without it, such as
            those between two divisions, are left out.
        options: see :func:`robustcmr.reporting.charts.line_chart`.
    """
    rows = [row for row in rows if group is None or row.get(group)]
    sources = [row if group is None else row[group] for row in rows]
    lines = {
        name: [
            cast(float, value) if isinstance(value := source.get(key), Real) else None for source in sources
        ]
        for name, key in keys.items()
        if any(key in source for source in sources)
    }
    return line_chart(title, [row["epoch"] for row in rows], lines, unit, form, **options)


def loss_chart(rows: Rows) -> Chart | None:
    """Draw the training loss and its parts, means over the steps of an epoch."""
    parts = [key for key in logged(rows) if key.endswith("_loss")][: len(SERIES) - 1]
    names = {"total": "loss", **{key.removesuffix("_loss").replace("_", " "): key for key in parts}}
    return epoch_chart(rows, "Training loss by parts" if parts else "Training loss", names, "loss")


def measure_chart(rows: Rows, split: str) -> Chart | None:
    """Draw recall or mAP on the split that chooses the best epoch, and mark that epoch."""
    measured = [row for row in rows if split in row]
    if not measured:
        return None
    labelled = "map" in measured[0][split]
    best = best_row(rows, split)["epoch"]
    title = f"{'Mean average precision' if labelled else 'Recall'} on the {split} split"
    keys = map_keys(measured[0][split]) if labelled else RECALLS
    unit = "mAP (%)" if labelled else "recall (%)"
    return epoch_chart(measured, title, keys, unit, "percent", split, mark=best, ceiling=100.0)


def since_restart(rows: Rows) -> Rows:
    """The rows of epochs since training last started over; all where it never did."""
    return [row for row in rows if row.get("restarted") == rows[-1].get("restarted")]


def best_row(rows: Rows, split: str) -> Mapping[str, Any]:
    """The row of the epoch with the largest rSum or mAP on a split; empty before the first was measured.

    Epochs before the latest restart do not count: their weights are gone.
    """
    measured = since_restart([row for row in rows if split in row])
    return max(measured, key=lambda row: float(row[split].get("map", row[split].get("rsum"))), default={})


def map_keys(measures: Mapping[str, Any]) -> dict[str, str]:
    """Keys of mAP over the whole ranking and at the first two lengths, both ways, by name."""
    lengths = [key.removeprefix("map_at_") for key in measures if key.startswith("map_at_")][:2]
    ends = {"mAP": "", **{f"mAP@{length}": f"_at_{length}" for length in lengths}}
    ways = {"image to text": "map_i2t", "text to image": "map_t2i"}
    return {f"{way} {name}": key + end for way, key in ways.items() for name, end in ends.items()}


def correction_chart(rows: Rows, split: str) -> Chart | None:
    """Draw how many given and corrected labels are right, and mark the best epoch."""
    scored = [row for row in rows if "correction" in row]
    title = "Labels that are right"
    mark = best_row(rows, split).get("epoch")
    unit = "right labels (%)"
    return epoch_chart(
        scored, title, LABELS_RIGHT, unit, "share", "correction", mark=mark, ceiling=1.0, note=STARTED
    )


def scope_chart(splits: Mapping[str, Mapping[str, Any]]) -> Chart | None:
    """Draw the share of items of the query's class among the first K, over K, for up to three splits."""
    curves = {name: measures for name, measures in splits.items() if measures.get("scopes")}
    scopes = sorted({scope for measures in curves.values() for scope in measures["scopes"]})
    lines = {}
    for split, measures in curves.items():
        for way, key in (("image to text", "precision_i2t"), ("text to image", "precision_t2i")):
            known = dict(zip(measures["scopes"], measures[key], strict=True))
            lines[f"{way}, {split}"] = [known.get(scope) for scope in scopes]
    title, unit = "Precision among the first K items", "items of the query's class (%)"
    return line_chart(title, scopes, lines, unit, "percent", x_name="K", ceiling=100.0, logarithmic=True)


def evidence_chart(
    evidence: npt.NDArray[np.float64],
    is_clean: npt.NDArray[np.bool_],
    mismatched: npt.NDArray[np.bool_] | None = None,
    density: FittedDensity | None = None,
    note: str = "",
) -> Chart:
    """Draw how the evidence against N pairs is distributed, and where it was cut.

    Args:
        evidence: (N,) finite.
        is_clean: (N,) bool, the decision.
        mismatched: (N,) bool, the truth, by which the bars are split; None draws them whole.
        density: the two groups fitted to the evidence, or None.
        note: a sentence for the reader.

    Raises:
        ValueError: there are no pairs, or ``mismatched`` has not one entry a pair.
    """
    n = len(evidence)
    if mismatched is not None and mismatched.shape != (n,):
        raise ValueError(
            f"mismatched has the shape {mismatched.shape} for {n} pairs, expected one entry a pair"
        )
    parts = {"all pairs": evidence}
    if mismatched is not None:
        parts = {"right pairs": evidence[~mismatched], "mismatched pairs": evidence[mismatched]}
    curves = {}
    if density is not None:
        curves = {
            "lower group, fitted": (density.evidence, density.clean),
            "upper group, fitted": (density.evidence, density.noisy),
        }
    suspected = n - int(is_clean.sum())
    cut = float(evidence[is_clean].max() + evidence[~is_clean].min()) / 2 if 0 < suspected < n else None
    title = f"Evidence against {n:,} pairs: {100 * suspected / max(n, 1):.1f}% suspected"
    return histogram(title, parts, "evidence against the pair", bins=50, cut=cut, curves=curves, note=note)


def labels_chart(confusion: Mapping[str, Any], class_names: Sequence[str]) -> Chart:
    """Draw given and corrected labels by true class, from the counts that a diagnosis of labels holds."""
    before, after = (
        np.array(confusion[name], dtype=np.int64).T for name in ("given_to_truth", "corrected_to_truth")
    )
    return confusion_chart(before, after, class_names)


def division_charts(rows: Rows) -> list[Chart | None]:
    """Draw the agreement of suspects with the truth at the start of epochs."""
    title, both = "Suspected pairs against the truth, as epochs begin", f"{PRECISION_RECALL} {STARTED}"
    calibration = {"expected calibration error": "calibration_error"}
    note = f"How far the probability of being wrong is from the share that is wrong; 0 is best. {STARTED}"
    return [
        epoch_chart(rows, title, DIVISION, "percent", "share", "division", note=both, ceiling=1.0),
        epoch_chart(rows, "Calibration", calibration, "error (%)", "share", "division", note=note),
        epoch_chart(
            rows, "Share of wrong pairs", NOISE, "wrong pairs (%)", "share", "division", note=STARTED
        ),
    ]


def rematching_charts(rows: Rows) -> list[Chart | None]:
    """Draw how many rematched captions fit, and how much mass was moved."""
    if not moves_mass(rows):
        title = "Captions that are true of their new picture"
        return [epoch_chart(rows, title, DRAWN, "percent", "share", "rematch", note=DRAWN_RULES)]
    note = REMATCH_RULES
    mass = {"mean of the batches": "mass"}
    return [
        epoch_chart(rows, "Rematched mass that fits", REMATCH, "percent", "share", "rematch", note=note),
        epoch_chart(rows, "Transported mass", mass, "mass (%)", "share", "rematch"),
    ]


def moves_mass(rows: Rows) -> bool:
    """Whether captions were rematched within batches, by transport; else an epoch draws pictures for them."""
    return any("mass" in row.get("rematch", {}) for row in rows)


def label_charts(rows: Rows, split: str) -> list[Chart | None]:
    """Draw how labels were corrected, epoch by epoch."""
    error = {"expected calibration error": "calibration_error"}
    moved = {"moved mass": "moved_mass"}
    return [
        correction_chart(rows, split),
        epoch_chart(
            rows, "Corrections", CORRECTIONS, "percent", "share", "correction", note=STARTED, ceiling=1.0
        ),
        epoch_chart(
            rows, "Calibration of the confidence", error, "error (%)", "share", "correction", note=STARTED
        ),
        epoch_chart(rows, "Transported mass", moved, "mass (%)", "share"),
    ]


def solver_charts(rows: Rows) -> list[Chart | None]:
    """Draw how well the transport solver converged, as far as it was logged."""
    return [
        epoch_chart(rows, f"Solver: {name}", {name: key}, "percent" if form == "share" else "", form)
        for key, (name, form) in SOLVER.items()
    ]


def cost_charts(rows: Rows) -> list[Chart | None]:
    """Draw the time and the speed of each epoch."""
    timed = [row for row in rows if row.get("seconds")]
    speeds = [
        {"epoch": row["epoch"], "speed": row["pairs_seen"] / row["seconds"]}
        for row in timed
        if "pairs_seen" in row
    ]
    return [
        epoch_chart(timed, "Seconds an epoch, measuring included", {"seconds": "seconds"}, "s"),
        epoch_chart(speeds, "Training pairs a second", {"pairs a second": "speed"}, "pairs / s"),
    ]


def other_charts(rows: Rows) -> list[Chart | None]:
    """Draw whatever else a method logged, one chart a number."""
    keys = [key for key in logged(rows) if key not in _SHOWN and not key.endswith("_loss")]
    names = {key.replace("_", " "): key for key in keys}
    return [epoch_chart(rows, name, {name: key}, "") for name, key in names.items()]


def logged(rows: Rows) -> list[str]:
    """Keys of the plain numbers in the rows, in their order of appearance."""
    found = [(key, value) for row in rows for key, value in row.items() if not isinstance(value, bool)]
    return list(dict.fromkeys(key for key, value in found if isinstance(value, Real)))


def save_run_charts(
    rows: Rows, splits: Mapping[str, Mapping[str, Any]], folder: Path, select: str = "dev"
) -> list[Path]:
    """Write ``loss``, ``dev_recall`` or ``dev_map``, ``correction`` and ``precision_scope`` as PNG.

    A chart that would show a single point is left out.

    Args:
        rows: one mapping an epoch, as in ``metrics.jsonl``.
        splits: measures with the best epoch, by split.
        folder: where the pictures go; made if missing.
        select: the split that chooses the best epoch.

    Returns:
        The pictures written.
    """
    labelled = any("map" in row.get(select, {}) for row in rows)
    charts = {
        "loss": loss_chart(rows),
        f"{select}_{'map' if labelled else 'recall'}": measure_chart(rows, select),
        "correction": correction_chart(rows, select),
        "precision_scope": scope_chart(splits),
    }
    written = []
    for name, chart in charts.items():
        if chart is not None:
            written.append(folder / f"{name}.png")
            chart.save(written[-1])
    return written
