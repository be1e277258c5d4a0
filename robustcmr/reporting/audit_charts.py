"""How the scores of an audit are distributed, beside those of pairs made wrong on purpose."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np

from robustcmr.reporting.charts import BAR, PARTS, SERIES, STYLE, Chart, Table, canvas, legend
from robustcmr.reporting.numbers import as_text
from robustcmr.runs.audits import Curves

_NAMES = {"random": "random partners", "near": "near partners"}
_NOTES = {
    "random": "Pairs that score like random partners look randomly mismatched.",
    "near": "Near partners are captions of similar pictures: pairs that score like them may be right or "
    "nearly right.",
}
_DASHES = {"random": "-", "near": (0, (5, 2))}
_FITS, _WRONG = "likely right", "likely mismatched"


def score_chart(curves: Curves) -> Chart | None:
    """Draw the scores of the given pairs as bars, and those of random and near partners as lines.

    The bars together have area 1, and so has each line. A bar is divided by the mean probability of its
    pairs, where these are known.

    Returns:
        The chart; None where no pair was counted.
    """
    edges, given = np.asarray(curves["edges"], float), np.asarray(curves["given"], float)
    if not given.sum():
        return None
    wrong = curves.get("mismatched")
    parts = {"given pairs": given}
    if wrong is not None:
        parts = {_FITS: given - np.asarray(wrong, float), _WRONG: np.asarray(wrong, float)}
    drawn = {"random": curves.get("random"), "near": curves.get("near")}
    nulls = {name: np.asarray(counts, float) for name, counts in drawn.items() if counts and sum(counts)}
    widths = np.diff(edges)
    with mpl.rc_context(STYLE):
        figure, axes = canvas()
        base = np.zeros(len(given))
        for (name, counts), colour in zip(parts.items(), PARTS if wrong is not None else (BAR,), strict=True):
            heights = counts / (given.sum() * widths)
            axes.bar(edges[:-1], heights, widths, base, align="edge", color=colour, label=name)
            base = base + heights
        for place, (name, counts) in enumerate(nulls.items()):
            heights = np.append(counts / (counts.sum() * widths), 0.0)
            style: Any = {"color": SERIES[place], "linestyle": _DASHES[name], "label": _NAMES[name]}
            axes.step(edges, heights, where="post", **style)
        axes.set_xlim(float(edges[0]), float(edges[-1]))
        axes.set_xlabel("score: log odds that the caption belongs to the picture")
        axes.set_ylabel("density")
        legend(figure, axes)
    columns = {**parts, **{_NAMES[name]: counts for name, counts in nulls.items()}}
    rows = [
        (f"{as_text(low)} to {as_text(high)}", *(float(counts[at]) for counts in columns.values()))
        for at, (low, high) in enumerate(pairwise(edges.tolist()))
    ]
    ends = f"from {as_text(float(edges[0]))} to {as_text(float(edges[-1]))}"
    description = f"Histogram of the scores of the given pairs {ends}"
    if wrong is not None:
        description += (
            f"; {as_text(round(float(np.sum(wrong))))} of {as_text(int(given.sum()))} likely mismatched"
        )
    table = Table("Pairs by score", ("score", *columns), rows)
    note = " ".join(_NOTES[name] for name in nulls)
    if wrong is not None:
        note = f"Each bar is divided by the mean probability of its pairs. {note}".strip()
    return Chart("Given pairs by score", figure, f"{description}.", (table,), note)
