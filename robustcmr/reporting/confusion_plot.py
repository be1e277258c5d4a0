"""A picture of class labels against the truth: the given ones beside the corrected ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from robustcmr.files import write_with
from robustcmr.reporting.plots import INK, caption_above
from robustcmr.types import IntArray

_SIZE = (12.5, 6.6)  # inches
_DPI = 120
_MOST_NUMBERED = 20  # classes, beyond which cells are too small for a number
_MOST_NAMED = 34  # classes, beyond which only some are named
_LONGEST_NAME = 18  # characters
_EMPTY = "#d9d9d9"  # a row of a class that no pair has
_MAP = colormaps["Blues"].with_extremes(bad=_EMPTY)  # one hue from light to dark: safe for the colour-blind
_TICKS = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)


def plot_confusion(given: IntArray, corrected: IntArray, class_names: Sequence[str], path: Path) -> None:
    """Draw how pairs of each true class are labelled, before and after correction, into a PNG.

    Two heat maps side by side, a row a true class and a column a label, in shares of the row; right labels
    lie on the diagonal. With up to 20 classes the cells hold their percentage. Shares are coloured by their
    square root, so that small ones can be told from none. The file is written atomically.

    Args:
        given: (K, K) counts >= 0, entry (a, b) how many given labels are b where the truth is a.
        corrected: (K, K) counts >= 0, the same of corrected labels.
        class_names: K names; long ones are cut.
        path: the picture.

    Raises:
        ValueError: there are no classes, a matrix is not (K, K), or it holds a negative count or none at all.
        UserError: the file cannot be written.
    """
    k = len(class_names)
    for name, counts in (("given", given), ("corrected", corrected)):
        if k == 0 or counts.shape != (k, k) or counts.min() < 0 or counts.sum() == 0:
            raise ValueError(
                f"{name} must be ({k}, {k}) counts of labels for {k} class names, none negative and not all "
                f"0, got shape {counts.shape}"
            )
    figure = Figure(figsize=_SIZE, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    names = [shortened(name) for name in class_names]
    for axes, counts, title in ((left, given, "Given labels"), (right, corrected, "Corrected labels")):
        image = _heat_map(axes, counts, names, title)
    left.set_ylabel("true class", color=INK)
    right.tick_params(left=False)
    figure.subplots_adjust(left=0.13, right=0.925, top=0.92, bottom=0.2, wspace=0.05)
    if naming_step(k) > 1:
        caption_above(left, f"one in {naming_step(k)} of {k} classes is named", 1.0, "axes fraction", "right")
    if not (given.sum(axis=1).all() and corrected.sum(axis=1).all()):
        caption_above(right, "grey: no pair is of that class", 1.0, "axes fraction", "right")
    place = right.get_position()
    bar = figure.colorbar(image, cax=figure.add_axes((0.94, place.y0, 0.012, place.height)), ticks=_TICKS)
    bar.ax.set_yticklabels([f"{tick:.0%}" for tick in _TICKS])
    bar.ax.tick_params(colors=INK, labelsize=9)
    bar.set_label("share of the true class", color=INK)
    bar.outline.set_visible(False)
    # "tight" lets the picture grow by what long names need
    write_with(path, lambda file: figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.15))


def row_shares(counts: IntArray) -> npt.NDArray[np.float64]:
    """Counts as shares of their row.

    Args:
        counts: (K, K) >= 0.

    Returns:
        (K, K) in 0..1, rows of sum 1; NaN in rows without any count.
    """
    totals = counts.sum(axis=1, keepdims=True)  # (K, 1)
    shares = np.full(counts.shape, np.nan)
    np.divide(counts, totals, out=shares, where=totals > 0)
    return shares


def shortened(name: str) -> str:
    """A name on one line, cut to what fits beside a row."""
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 1].rstrip() + "…"


def naming_step(n_classes: int) -> int:
    """One in how many classes is named, so that names do not overlap."""
    return -(-n_classes // _MOST_NAMED)


def _heat_map(axes: Axes, counts: IntArray, names: list[str], title: str) -> AxesImage:
    k, shares = len(names), row_shares(counts)
    right = float(np.trace(counts) / counts.sum())
    axes.set_title(f"{title}: {right:.1%} right", loc="left", color=INK, fontsize=13)
    image = axes.imshow(
        np.ma.masked_invalid(shares),
        cmap=_MAP,
        norm=PowerNorm(0.5, 0, 1),
        aspect="auto",
        interpolation="nearest",
    )
    places = range(0, k, naming_step(k))
    size = 9.5 if k <= 12 else 8.5 if k <= 24 else 7
    some = [names[place] for place in places]
    axes.set_xticks(places, some, rotation=55, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(places, some, parse_math=False)
    axes.tick_params(colors=INK, labelsize=size, length=2)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("label", color=INK)
    if k <= _MOST_NUMBERED:
        _write_numbers(axes, shares, 10 if k <= 12 else 7.5)
    return image


def _write_numbers(axes: Axes, shares: npt.NDArray[np.float64], size: float) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share > 0:  # nor is there one in a row without pairs
            percent = 100 * share
            text = "<1" if percent < 0.5 else f"{percent:.0f}"
            colour = "white" if share > 0.4 else INK
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
