"""A picture of the evidence against the pairs: how it is spread, what was fitted to it, where it was cut."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from robustcmr.files import write_with
from robustcmr.reporting.plots import INK, blank_axes, caption_above
from robustcmr.types import Division, FittedDensity

_BINS = 60
_TAIL = 0.002  # pairs at either end that may be left out where they would squeeze the rest
_TALL = 4.0  # a bar that many times as high as the third highest is cut
_ALL, _RIGHT, _MISMATCHED = "#c4cad3", "#8fbfe8", "#f2b488"  # bars
_LOWER, _UPPER = "#0b4f8a", "#a63c06"  # curves


def plot_evidence(division: Division, path: Path, mismatched: npt.NDArray[np.bool_] | None = None) -> None:
    """Draw how the evidence against the pairs is spread and where it was cut into a PNG, written atomically.

    Shown are a histogram, the two groups fitted to it where there are two, and the evidence above which pairs
    are suspected. A few far outliers, and bars far higher than all others, are cut off, which the plot says.

    Args:
        division: what a method believes of N pairs.
        path: the picture.
        mismatched: (N,) bool, the truth, by which the bars are parted; None draws them whole.

    Raises:
        ValueError: there are no pairs, or ``mismatched`` has not one entry a pair.
        UserError: the file cannot be written.
    """
    evidence, n = division.evidence, len(division.evidence)
    if n == 0:
        raise ValueError("there are no pairs to draw; give at least one")
    if mismatched is not None and mismatched.shape != (n,):
        raise ValueError(f"mismatched has the shape {mismatched.shape} for {n} pairs; give one entry a pair")
    suspected = int(n - division.is_clean.sum())
    share = f"{suspected / n:.1%} suspected" if suspected else "none suspected"
    figure, axes = blank_axes(
        f"Evidence against {_pairs(n)}: {share}", "evidence against the pair", "density"
    )
    low, high = evidence_range(evidence)
    handles, heights = _bars(axes, evidence, np.linspace(low, high, _BINS + 1), mismatched)
    if division.density is not None:
        handles += _curves(axes, division.density)
    handles += _decision(axes, division)
    top = bar_limit(heights)
    axes.set_xlim(low, high)
    axes.set_ylim(0, top)
    outside = int(((evidence < low) | (evidence > high)).sum())
    remarks = [f"{_pairs(outside)} further out"] if outside else []
    if heights.max() > top:
        remarks.append(f"the highest bar, cut off here, reaches {heights.max():.3g}")
    caption_above(axes, "; ".join(remarks), 1.0, "axes fraction", "right")
    figure.subplots_adjust(left=0.09, right=0.72, top=0.86, bottom=0.13 if division.bimodal else 0.21)
    if not division.bimodal:
        reason = textwrap.fill(f"Not divided: {division.reason}.", 110, max_lines=2)
        figure.text(0.03, 0.02, reason, color=INK, fontsize=9, va="bottom")
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    write_with(path, lambda file: figure.savefig(file, format="png"))


def evidence_range(evidence: npt.NDArray[np.float64]) -> tuple[float, float]:
    """What part of the evidence to show: all of it, unless a few pairs at an end would squeeze the rest.

    Args:
        evidence: (N,) finite.

    Returns:
        Lower and upper limit, the second larger.
    """
    low, high = float(evidence.min()), float(evidence.max())
    inner_low, inner_high = (float(q) for q in np.quantile(evidence, [_TAIL, 1 - _TAIL]))
    reach = 0.25 * (inner_high - inner_low)
    if reach > 0:
        low, high = max(low, inner_low - reach), min(high, inner_high + reach)
    size = max(abs(low), abs(high))
    if high - low > 1e-6 * size:
        return low, high
    room = 0.05 * size if size > 0 else 0.5  # all the same: one bar in the middle
    return low - room, high + room


def bar_limit(heights: npt.NDArray[np.float64]) -> float:
    """How high a histogram is drawn: over its highest bar, unless one or two tower above all others.

    Args:
        heights: (K,) >= 0, three or more bars, not all 0.

    Returns:
        Upper limit of the axis, above 0.
    """
    highest, third = float(heights.max()), float(np.sort(heights)[-3])
    return 2 * third if 0 < third < highest / _TALL else 1.08 * highest


def _bars(
    axes: Axes,
    evidence: npt.NDArray[np.float64],
    edges: npt.NDArray[np.float64],
    mismatched: npt.NDArray[np.bool_] | None,
) -> tuple[list[Any], npt.NDArray[np.float64]]:
    """The histogram, one kind of pairs on top of the other; and how high it is in all."""
    parts = [("all pairs", np.ones(len(evidence), dtype=np.bool_), _ALL)]
    if mismatched is not None:
        parts = [("right", ~mismatched, _RIGHT), ("mismatched", mismatched, _MISMATCHED)]
    widths = np.diff(edges)
    drawn, base = [], np.zeros(len(widths))
    for name, chosen, colour in parts:
        heights = np.histogram(evidence[chosen], edges)[0] / (len(evidence) * widths)
        label = f"{name} ({int(chosen.sum()):,})"
        drawn.append(axes.bar(edges[:-1], heights, widths, base, align="edge", color=colour, label=label))
        base = base + heights
    return drawn, base


def _curves(axes: Axes, density: FittedDensity) -> list[Any]:
    drawn: list[Any] = []
    for name, heights, colour in (
        ("lower group, fitted", density.clean, _LOWER),
        ("upper group, fitted", density.noisy, _UPPER),
    ):
        finite = np.where(np.isfinite(heights), heights, np.nan)  # a density may have no end at a border
        drawn += axes.plot(density.evidence, finite, color=colour, linewidth=1.8, label=name)
    return drawn


def _decision(axes: Axes, division: Division) -> list[Any]:
    """A dashed line between the last clean and the first suspected pair, where there are both."""
    clean = division.is_clean
    if clean.all() or not clean.any():
        return []
    cut = float(division.evidence[clean].max() + division.evidence[~clean].min()) / 2
    label = f"suspected above {cut:.3g}"
    return [axes.axvline(cut, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=label)]


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count:,} pairs"
