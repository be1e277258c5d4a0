"""A picture of how many of the first items are of the query's class: the precision-scope curve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from robustcmr.files import write_with
from robustcmr.reporting.plots import blank_axes, caption_above, label_ends

_COLOURS = (("#0b4f8a", "#a63c06"), ("#3d8bd0", "#e0752d"), ("#8fbfe8", "#f2b488"))  # blue i2t, orange t2i
_WAYS = {"image to text": "precision_i2t", "text to image": "precision_t2i"}
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def plot_precision_scope(measured: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw the mean share of relevant items among the first K over K into a PNG, written atomically.

    Args:
        measured: by the name of a split, its measures with ``scopes``, ascending, and a percentage for each
            in ``precision_i2t`` and ``precision_t2i``; one to three splits.
        path: the picture.

    Raises:
        ValueError: there is no split or there are more than three, or one has no scopes.
        UserError: the file cannot be written.
    """
    if not 1 <= len(measured) <= len(_COLOURS):
        raise ValueError(f"got {len(measured)} splits to draw; give between 1 and {len(_COLOURS)}")
    for split, measures in measured.items():
        if not measures["scopes"]:
            raise ValueError(f"the {split} split has no scopes to draw; give at least one")
    figure, axes = blank_axes(
        "Precision among the first K items", "K, length of the ranking", "items of the query's class (%)"
    )
    axes.set_xscale("log")
    longest = max(measures["scopes"][-1] for measures in measured.values())
    ends, colours = [], []
    for (split, measures), pair, dashes in zip(measured.items(), _COLOURS, _DASHES, strict=False):
        for (way, key), colour in zip(_WAYS.items(), pair, strict=True):
            scopes, values = measures["scopes"], measures[key]
            axes.plot(
                scopes, values, color=colour, linestyle=dashes, marker="o", markersize=3.5, linewidth=1.8
            )
            ends.append((f"{way}, {split}", values[-1], values[-1], scopes[-1]))
            colours.append(colour)
    low, high = axes.get_ylim()
    axes.set_ylim(max(-2.0, low), min(102.0, high))
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in _TICKS if tick <= longest]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    label_ends(axes, ends, colours)
    caption_above(axes, "at its largest K:", 1.03, "axes fraction", "left")
    figure.subplots_adjust(left=0.09, right=0.735, top=0.86, bottom=0.13)
    write_with(path, lambda file: figure.savefig(file, format="png"))


def draw_scopes(measured: Mapping[str, Mapping[str, Any]], folder: Path) -> Path | None:
    """Draw ``precision_scope.png`` of a run's splits, as far as there are such curves.

    Args:
        measured: measures by the name of a split, of any track.
        folder: where the picture goes.

    Returns:
        The picture; None where no split has a curve.

    Raises:
        UserError: the file cannot be written.
    """
    curves = {split: measures for split, measures in measured.items() if measures.get("scopes")}
    if not curves:
        return None
    path = folder / "precision_scope.png"
    plot_precision_scope(curves, path)
    return path
