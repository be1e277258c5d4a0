"""How the scores of an audit are distributed, beside those of pairs made wrong on purpose."""

from __future__ import annotations

from itertools import pairwise

import matplotlib as mpl
import numpy as np

from robustcmr.reporting.charts import BAR, INK, SERIES, STYLE, Chart, Table, canvas, legend
from robustcmr.reporting.numbers import as_text
from robustcmr.runs.audits import Curves

_NAMES = {"random": "random partners", "near": "near partners"}
_NOTES = {
    "random": "Given pairs that score like random partners look randomly mismatched.",
    "near": "Near partners are captions of similar pictures: pairs that score like them may be right or "
    "nearly right.",
}
_DASHES = {"random": "-", "near": (0, (5, 2))}


def score_chart(curves: Curves) -> Chart | None:
    """Draw the scores of the given pairs as bars, and those of random and near partners as lines.

    Each of the three has area 1. Where bars rise above what the lines leave, pairs are right.

    Returns:
        The chart; None where no pair was counted.
    """
    edges, given = np.asarray(curves["edges"], float), np.asarray(curves["given"], float)
    drawn = {"random": curves.get("random"), "near": curves.get("near")}
    nulls = {name: np.asarray(counts, float) for name, counts in drawn.items() if counts and sum(counts)}
    if not given.sum():
        return None
    widths = np.diff(edges)
    heights = given / (given.sum() * widths)
    with mpl.rc_context(STYLE):
        figure, axes = canvas()
        axes.bar(edges[:-1], heights, widths, align="edge", color=BAR, label="given pairs")
        for place, (name, counts) in enumerate(nulls.items()):
            axes.step(
                edges,
                np.append(counts / (counts.sum() * widths), 0.0),
                where="post",
                color=SERIES[place],
                linestyle=_DASHES[name],
                label=_NAMES[name],
            )
        axes.set_xlim(float(edges[0]), float(edges[-1]))
        axes.set_xlabel("score: similarity against that to a fixed set of other pairs")
        axes.set_ylabel("density")
        axes.yaxis.label.set_color(INK)
        legend(figure, axes)
    rows = [
        (f"{as_text(low)} to {as_text(high)}", *(float(column[at]) for column in (given, *nulls.values())))
        for at, (low, high) in enumerate(pairwise(edges.tolist()))
    ]
    table = Table("Pairs by score", ("score", "given pairs", *(_NAMES[name] for name in nulls)), rows)
    beside = " beside " + " and ".join(_NAMES[name] for name in nulls) if nulls else ""
    return Chart(
        "Given pairs beside pairs made wrong",
        figure,
        f"Histogram of the scores of the given pairs{beside}, from {as_text(float(edges[0]))} to "
        f"{as_text(float(edges[-1]))}.",
        (table,),
        " ".join(sentence for name, sentence in _NOTES.items() if name in nulls),
    )
