"""The section on how training went: measures of the split that chooses, losses, and what else was logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from robustcmr.reporting.page.document import Section, sentence
from robustcmr.reporting.page.html import Html, joined
from robustcmr.reporting.page.line_chart import Line, LineChart
from robustcmr.reporting.page.parts import folded, grid, line_figure
from robustcmr.reporting.page.style import SERIES
from robustcmr.reporting.plots import RECALLS, map_lines
from robustcmr.runs.read import SavedRun

_TOLD_ELSEWHERE = {"epoch", "loss", "steps", "pairs_seen", "seconds", "suspected", "noise_rate"}

SOLVER = {
    "solver_failed": "share of steps whose plan missed the tolerance",
    "solver_iterations": "iterations, mean",
    "solver_error": "error of the marginals, mean",
}
"""Measures of a transport solver by their name in ``metrics.jsonl``."""

MASSES = {"moved_mass": "moved mass"}
"""Transported mass of methods that log it themselves."""


def training_section(record: SavedRun) -> Section:
    """Measures and losses by epoch."""
    rows = record.rows
    if not rows:
        return Section("training", "Training", sentence("No epoch has ended yet, so there are no curves."))
    figures = []
    measured = [row for row in rows if record.headline in row.get(record.select, {})]
    if measured:
        figures.append(_measures(record, measured))
    losses = ["loss", *(key for key in _scalars(rows) if key.endswith("_loss"))][:SERIES]
    figures.append(
        line_figure(
            "Training loss",
            by_epoch(rows, {key.replace("_", " "): key for key in losses}, "loss"),
            "Mean over the steps of an epoch; in all, and its parts." if len(losses) > 1 else None,
        )
    )
    others = [
        key
        for key in _scalars(rows)
        if key not in {*_TOLD_ELSEWHERE, *SOLVER, *MASSES} and not key.endswith("_loss")
    ]
    more = [
        line_figure(
            key.replace("_", " "), by_epoch(rows, {key.replace("_", " "): key}, key.replace("_", " "))
        )
        for key in others
    ]
    rest = folded("What else was logged by epoch", grid(*more)) if more else None
    return Section("training", "Training", joined(grid(*figures), rest))


def solver_figures(rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    """How well the transport solver did, as far as it was logged."""
    return [
        line_figure(f"Solver: {name}", by_epoch(rows, {name: key}, name, floor=0))
        for key, name in SOLVER.items()
        if any(key in row for row in rows)
    ]


def by_epoch(
    rows: Sequence[Mapping[str, Any]],
    lines: Mapping[str, str],
    unit: str,
    group: str | None = None,
    floor: float | None = None,
    ceiling: float | None = None,
    mark: tuple[float, str] | None = None,
) -> LineChart:
    """A chart over epochs.

    Args:
        rows: one an epoch.
        lines: key of each line's number, by its name.
        unit: what the numbers are.
        group: heading in the row under which the keys stand; None for the row itself.
        floor: where the vertical axis starts at the latest.
        ceiling: where it ends at the latest.
        mark: an epoch to mark, with a word.
    """
    sources = [row if group is None else row.get(group, {}) for row in rows]
    drawn = [Line(name, [source.get(key) for source in sources]) for name, key in lines.items()]
    epochs = [row["epoch"] for row in rows]
    return LineChart(epochs, drawn, "epoch", unit, floor=floor, ceiling=ceiling, mark=mark)


def _measures(record: SavedRun, measured: Sequence[Mapping[str, Any]]) -> Html:
    labelled = record.headline == "map"
    lines = map_lines(measured[0][record.select]) if labelled else RECALLS
    best = record.best_epoch
    return line_figure(
        f"{'Mean average precision' if labelled else 'Recall'} on the {record.select} split",
        by_epoch(
            measured,
            lines,
            "mAP (%)" if labelled else "recall (%)",
            record.select,
            floor=0,
            ceiling=100,
            mark=None if best is None else (best, f"best: {best}"),
        ),
    )


def _scalars(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    found: dict[str, None] = {}
    for row in rows:
        for key, value in row.items():
            if isinstance(value, Real) and not isinstance(value, bool):
                found.setdefault(key)
    return list(found)
