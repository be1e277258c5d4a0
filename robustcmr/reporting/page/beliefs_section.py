"""Sections on what a method believes of the training pairs, and on how it rematched them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.reporting.evidence_plot import bar_limit, evidence_range
from robustcmr.reporting.page.document import Section, sentence
from robustcmr.reporting.page.histogram import Bars, Curve, Histogram
from robustcmr.reporting.page.html import Html, joined, rounded, shown, tag
from robustcmr.reporting.page.parts import facts, figure, grid, line_figure, table
from robustcmr.reporting.page.training_section import by_epoch, solver_figures
from robustcmr.runs.read import SavedRun
from robustcmr.types import FittedDensity

_BINS = 40

_DIVISION = {
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "AUROC": "auroc",
    "average precision": "average_precision",
    "accuracy": "accuracy",
}
_NOISE = {
    "estimated": "noise_rate",
    "interval, lower end": "noise_rate_low",
    "interval, upper end": "noise_rate_high",
    "true": "noise_rate_true",
}
_REMATCH = {
    "plan": "plan",
    "chance": "chance",
    "image to best caption": "row_max",
    "the same, of the plan's mass": "row_max_same_mass",
    "caption to best image": "column_max",
    "reachable": "reachable",
}


@dataclass(frozen=True)
class EvidenceView:
    """The evidence against the training pairs, ready to be drawn.

    Attributes:
        evidence: (N,) finite.
        is_clean: (N,) bool, what was decided.
        mismatched: (N,) bool, the truth; None where it is not known.
        density: the two groups fitted to it; None where there are none or they are not known.
        note: a sentence on what is missing from the drawing, or None.
    """

    evidence: npt.NDArray[np.float64]
    is_clean: npt.NDArray[np.bool_]
    mismatched: npt.NDArray[np.bool_] | None
    density: FittedDensity | None
    note: str | None = None


def beliefs_section(record: SavedRun, view: EvidenceView | None) -> Section:
    """Which pairs are suspected, how surely, and how rightly."""
    key, title = "beliefs", "Which pairs it believes wrong"
    beliefs = record.results.get("findings")
    divided = any("suspected" in row for row in record.rows)
    if beliefs is None and not divided:
        why = (
            "No pair has been judged yet."
            if not record.finished
            else f"The method {record.config['method']['name']} does not say which pairs it believes wrong."
        )
        return Section(key, title, sentence(why))
    parts: list[Html | None] = []
    if beliefs is not None:
        parts.append(_verdict(beliefs))
    figures = []
    if view is not None and len(view.evidence):
        figures.append(evidence_figure(view))
    judged = any("division" in row for row in record.rows)
    if judged:
        figures += _division_figures(record)
    parts.append(grid(*figures) if figures else None)
    if not judged:
        parts.append(
            sentence(
                "How right these beliefs are is not shown: the truth of this data is not known, or no epoch "
                "began with a division."
            )
        )
    return Section(key, title, joined(*parts))


def _verdict(beliefs: Mapping[str, Any]) -> Html:
    interval = beliefs.get("noise_interval")
    known = {
        "share suspected": beliefs.get("suspected"),
        "estimated share of wrong pairs": beliefs.get("noise_rate"),
        "its 95% interval": None
        if interval is None
        else joined(shown(interval[0]), " to ", shown(interval[1])),
    }
    verdict = tag("p", f"With the best epoch: {beliefs['reason']}.")
    division = beliefs.get("division")
    if not division:
        return joined(verdict, facts("Beliefs with the best epoch", known))
    names = {**_DIVISION, "calibration error": "calibration_error", "true share": "noise_rate_true"}
    rows = [[name, shown(division[key])] for name, key in names.items() if key in division]
    return joined(
        verdict,
        grid(
            facts("Beliefs with the best epoch", known),
            table("Held against the truth, with the best epoch", ["measure", "value"], rows),
        ),
    )


def evidence_figure(view: EvidenceView) -> Html:
    """A histogram of the evidence with the groups fitted to it."""
    low, high = evidence_range(view.evidence)
    edges = np.linspace(low, high, _BINS + 1)
    width, n = float(edges[1] - edges[0]), len(view.evidence)
    parts = [("all pairs", np.ones(n, dtype=np.bool_))]
    if view.mismatched is not None:
        parts = [("right in truth", ~view.mismatched), ("mismatched in truth", view.mismatched)]
    counts = [np.histogram(view.evidence[chosen], edges)[0] for _, chosen in parts]
    heights = [found / (n * width) for found in counts]
    bars = [
        Bars(name, height.tolist(), int(chosen.sum()))
        for (name, chosen), height in zip(parts, heights, strict=True)
    ]
    curves = []
    if view.density is not None:
        at = view.density.evidence.tolist()
        curves = [
            Curve("lower group, fitted", at, view.density.clean.tolist()),
            Curve("upper group, fitted", at, view.density.noisy.tolist()),
        ]
    total = np.sum(heights, axis=0)
    chart = Histogram(
        edges.tolist(),
        bars,
        curves,
        _cut(view),
        bar_limit(total) if total.any() else 1.0,
        "evidence against the pair",
        "density",
    )
    rows = [
        [f"{rounded(left, 4)} to {rounded(right, 4)}", *(shown(int(found[index])) for found in counts)]
        for index, (left, right) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    ]
    data = table("Pairs by evidence", ["evidence", *(name for name, _ in parts)], rows)
    outside = int(((view.evidence < low) | (view.evidence > high)).sum())
    notes = [view.note] if view.note is not None else []
    if outside:
        notes.append(f"{outside:,} {'pair lies' if outside == 1 else 'pairs lie'} further out than is drawn.")
    if total.max() > chart.top:
        notes.append(f"The highest bar, cut off here, reaches {total.max():.3g}.")
    return figure("Evidence against the pairs", chart, data, " ".join(notes) or None)


def _cut(view: EvidenceView) -> float | None:
    clean = view.is_clean
    if clean.all() or not clean.any():
        return None
    return float(view.evidence[clean].max() + view.evidence[~clean].min()) / 2


def _division_figures(record: SavedRun) -> list[Html]:
    rows = record.rows
    defined = {key for row in rows for key in row.get("division", {})}

    def chart(names: Mapping[str, str], unit: str) -> Any:
        lines = {name: key for name, key in names.items() if key in defined}
        return by_epoch(rows, lines, unit, "division", floor=0, ceiling=1)

    return [
        line_figure(
            "Suspected pairs against the truth",
            chart(_DIVISION, "share"),
            "Judged as each epoch began; to be found are the mismatched pairs.",
        ),
        line_figure(
            "Calibration",
            chart({"expected calibration error": "calibration_error"}, "error"),
            "How far the probability of being wrong lies from the share that is; 0 is best.",
        ),
        line_figure("Share of wrong pairs", chart(_NOISE, "share")),
    ]


def rematch_section(record: SavedRun) -> Section:
    """How much of the rematched mass is right, how much was moved, and how the solver did."""
    key, title, rows = "rematching", "Rematching", record.rows
    solver = solver_figures(rows)
    untold = sentence("The metrics of this run hold nothing on the convergence of a transport solver.")
    judged = [row for row in rows if "rematch" in row]
    if not judged:
        moved = any("rematch_loss" in row for row in rows)
        why = (
            "Captions were rematched, but the truth of this data is not known, so the plans are not judged."
            if moved
            else "Nothing was rematched in this run."
        )
        return Section(key, title, joined(sentence(why), grid(*solver) if solver else None))
    defined = {name for row in judged for name in row["rematch"]}
    lines = {name: at for name, at in _REMATCH.items() if at in defined}
    quality = line_figure(
        "Rematched mass that is right",
        by_epoch(rows, lines, "share", "rematch", floor=0),
        "Share of the moved mass on pairs that fit, beside simpler rules; reachable: captions for which the "
        "batch holds an image that fits.",
    )
    mass = line_figure(
        "Transported mass",
        by_epoch(rows, {"mass, mean of the batches": "mass"}, "mass", "rematch", floor=0),
    )
    best = next((row for row in judged if row["epoch"] == record.best_epoch), None)
    told = None
    if best is not None:
        names = {**_REMATCH, "mass": "mass"}
        entries = [[name, shown(best["rematch"].get(at))] for name, at in names.items()]
        told = table(f"Rematching in the best epoch, {best['epoch']}", ["measure", "value"], entries)
    return Section(key, title, joined(grid(quality, mass, *solver), told, None if solver else untold))
