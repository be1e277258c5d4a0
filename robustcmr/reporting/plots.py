"""Pictures of a run: loss and measures over its epochs. Drawn off screen; no display is ever needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from robustcmr.files import write_with

_SIZE = (8.0, 4.5)  # inches
_DPI = 120
INK = "#333333"
_GREY = "#767676"
_GRID = "#e4e4e4"
_LABELS_AT = 1.03  # of the width of the axes
_COLOURS = ("#0b4f8a", "#3d8bd0", "#8fbfe8", "#a63c06", "#e0752d", "#f2b488")  # three blues, three oranges
_MARKERS = ("o", "s", "^", "o", "s", "^")

RECALLS = {
    "image to text R@1": "i2t_r1",
    "image to text R@5": "i2t_r5",
    "image to text R@10": "i2t_r10",
    "text to image R@1": "t2i_r1",
    "text to image R@5": "t2i_r5",
    "text to image R@10": "t2i_r10",
}
"""Lines of the recall plot, by their key in the measures of an epoch."""

CORRECTION = {"corrected right": "corrected_accuracy", "given right": "given_accuracy"}
"""Lines of the plot of corrected labels, by their key in what an epoch was judged by."""


def plot_loss(epochs: Sequence[int], losses: Sequence[float], path: Path) -> None:
    """Draw the training loss over epochs into a PNG, written atomically.

    Args:
        epochs: one or more epochs, ascending.
        losses: mean training loss of each.
        path: the picture.

    Raises:
        ValueError: there are no epochs, or not as many losses.
        UserError: the file cannot be written.
    """
    _check_lengths(epochs, {"loss": losses})
    figure, axes = _canvas("Training loss", "loss, mean over the epoch's steps", epochs)
    axes.plot(epochs, losses, color=_COLOURS[0], marker="o", markersize=_marker_size(epochs), linewidth=1.8)
    axes.annotate(
        f"{losses[-1]:.4g}",
        (epochs[-1], losses[-1]),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        color=INK,
        annotation_clip=False,
    )
    figure.subplots_adjust(left=0.1, right=0.9, top=0.86, bottom=0.13)
    _save(figure, path)


def plot_recall(
    epochs: Sequence[int],
    series: Mapping[str, Sequence[float]],
    best_epoch: int,
    path: Path,
    title: str = "Recall on the dev split",
    unit: str = "recall (%)",
    places: Sequence[int] = range(6),
) -> None:
    """Draw recalls, or other percentages, over epochs into a PNG, written atomically, with the best marked.

    Args:
        epochs: one or more epochs, ascending.
        series: a line each, by name: a number in percent, 0..100, for every epoch; at most six.
        best_epoch: which of ``epochs`` to mark.
        path: the picture.
        title: what stands above it.
        unit: what the numbers are.
        places: a colour for each line, 0..5: the first three share one hue and the next three another.

    Raises:
        ValueError: there are no epochs, a line has not one value an epoch, there are no lines or more than
            six, or ``best_epoch`` is none of the epochs.
        UserError: the file cannot be written.
    """
    _check_lengths(epochs, series)
    if not 1 <= len(series) <= len(_COLOURS):
        raise ValueError(f"got {len(series)} lines to draw; give between 1 and {len(_COLOURS)}")
    if best_epoch not in epochs:
        raise ValueError(f"the best epoch {best_epoch} is none of the epochs {list(epochs)}")
    figure, axes = _canvas(title, unit, epochs)
    axes.axvline(best_epoch, color=_GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    best = list(epochs).index(best_epoch)
    for (name, values), place in zip(series.items(), places, strict=False):
        style: dict[str, Any] = {"color": _COLOURS[place], "marker": _MARKERS[place]}
        axes.plot(epochs, values, markersize=_marker_size(epochs), linewidth=1.8, label=name, **style)
        axes.plot(best_epoch, values[best], markersize=8, markeredgecolor="white", zorder=4, **style)
    low, high = axes.get_ylim()
    low, high = max(-2.0, low), min(102.0, high)  # room for whole markers at 0 and 100
    axes.set_ylim(low, high)
    near_labels = best_epoch == epochs[-1] and len(epochs) > 1
    caption_above(axes, f"best epoch: {best_epoch}", best_epoch, "data", "right" if near_labels else "center")
    caption_above(axes, f"at epoch {best_epoch}:", _LABELS_AT, "axes fraction", "left")
    ends = [(name, values[-1], values[best], epochs[-1]) for name, values in series.items()]
    label_ends(axes, ends, [_COLOURS[place] for place in places])
    figure.subplots_adjust(left=0.09, right=0.735, top=0.86, bottom=0.13)
    _save(figure, path)


def draw_run_plots(rows: Sequence[Mapping[str, Any]], folder: Path, split: str = "dev") -> list[Path]:
    """Draw what a run's metrics show.

    ``loss.png``; if a split was measured, ``dev_recall.png`` or, of labelled data, ``dev_map.png``; and if
    corrected labels were judged, ``correction.png``.

    Args:
        rows: one an epoch, as in ``metrics.jsonl``, with ``epoch``, ``loss`` and, where the epoch was
            measured, the split's measures under its name.
        folder: where the pictures go; made if missing.
        split: the split that chooses the best epoch, the one of the largest ``rsum`` or ``map``.

    Returns:
        The pictures written; none for a run without epochs.

    Raises:
        UserError: a file cannot be written.
    """
    if not rows:
        return []
    written = [folder / "loss.png"]
    plot_loss([row["epoch"] for row in rows], [row["loss"] for row in rows], written[0])
    measured = [row for row in rows if split in row]
    if not measured:
        return written
    labelled = "map" in measured[0][split]
    key, name = ("map", "mAP") if labelled else ("rsum", "rSum")
    best = max(measured, key=lambda row: float(row[split][key]))
    lines = map_lines(measured[0][split]) if labelled else RECALLS
    what = "Mean average precision" if labelled else "Recall"
    written.append(folder / f"{split}_{'map' if labelled else 'recall'}.png")
    plot_recall(
        [row["epoch"] for row in measured],
        {line: [row[split][measure] for row in measured] for line, measure in lines.items()},
        best["epoch"],
        written[-1],
        f"{what} on the {split} split; best {name} {best[split][key]:.1f}",
        "mAP (%)" if labelled else "recall (%)",
        _two_hues(len(lines)),
    )
    judged = [row for row in measured if "correction" in row]
    if best in judged:  # else there is no epoch to mark
        written.append(folder / "correction.png")
        plot_recall(
            [row["epoch"] for row in judged],
            {
                line: [100 * row["correction"][measure] for row in judged]
                for line, measure in CORRECTION.items()
            },
            best["epoch"],
            written[-1],
            "Right labels among the training pairs",
            "labels that are right (%)",
            _two_hues(2),
        )
    return written


def map_lines(measures: Mapping[str, Any]) -> dict[str, str]:
    """Lines of the mAP plot by their key: the whole ranking's, and the first two lengths', both ways."""
    lengths = [key.removeprefix("map_at_") for key in measures if key.startswith("map_at_")][:2]
    ends = {"mAP": "", **{f"mAP@{length}": f"_at_{length}" for length in lengths}}
    ways = {"image to text": "map_i2t", "text to image": "map_t2i"}
    return {f"{way} {name}": key + end for way, key in ways.items() for name, end in ends.items()}


def _two_hues(n_lines: int) -> list[int]:
    """Colours of lines of which the first half shares one hue and the other half another."""
    half = (n_lines + 1) // 2
    return [place if place < half else 3 + place - half for place in range(n_lines)]


def _check_lengths(epochs: Sequence[int], series: Mapping[str, Sequence[float]]) -> None:
    if not epochs:
        raise ValueError("there are no epochs to draw; give at least one")
    for name, values in series.items():
        if len(values) != len(epochs):
            raise ValueError(f"{name} has {len(values)} values for {len(epochs)} epochs; give one an epoch")


def blank_axes(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    """A figure with empty axes in the style of all plots.

    Args:
        title: what stands above.
        across: what the horizontal axis shows, with its unit.
        up: what the vertical axis shows.

    Returns:
        The figure, to be drawn off screen, and its axes.
    """
    figure = Figure(figsize=_SIZE, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", color=INK, fontsize=13, pad=20)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GREY)
    axes.tick_params(colors=INK)
    return figure, axes


def _canvas(title: str, unit: str, epochs: Sequence[int]) -> tuple[Figure, Axes]:
    figure, axes = blank_axes(title, "epoch", unit)
    ticks = MaxNLocator(integer=True, nbins=12, steps=[1, 2, 5, 10]).tick_values(epochs[0], epochs[-1])
    axes.set_xticks([tick for tick in ticks if epochs[0] <= tick <= epochs[-1]])
    if len(epochs) == 1:
        axes.set_xticks(epochs)
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    return figure, axes


def _marker_size(epochs: Sequence[int]) -> float:
    return 4.5 if len(epochs) <= 40 else 0.0  # dots would merge into a thick line


def caption_above(axes: Axes, text: str, x: float, unit: str, side: str) -> None:
    """Write a small grey line of text just above the axes.

    Args:
        axes: the axes.
        text: the line.
        x: where it stands.
        unit: of ``x``: ``data`` or ``axes fraction``.
        side: which side of the text stands there: ``left``, ``center`` or ``right``.
    """
    axes.annotate(
        text,
        (x, 1.0),
        xycoords=(unit, "axes fraction"),
        xytext=(0, 5),
        textcoords="offset points",
        ha=side,
        color=_GREY,
        fontsize=9,
        annotation_clip=False,
    )


def label_ends(axes: Axes, ends: Sequence[tuple[str, float, float, float]], colours: Sequence[str]) -> None:
    """Name lines to the right of the axes, each with a number, moved apart where ends are close.

    Args:
        axes: the axes, their limits set.
        ends: of each line its name, its height at its end, the number to write, and where on the horizontal
            axis it ends.
        colours: of each line; more are ignored.
    """
    low, high = axes.get_ylim()
    room = 0.035 * (high - low)  # a line of text at the edge stays within the axes
    heights = spread([height for _, height, _, _ in ends], (high - low) * 0.055, low + room, high - room)
    for (name, end, value, last), colour, height in zip(ends, colours, heights, strict=False):
        axes.annotate(
            f"{name}  {value:.1f}",
            (last, end),
            xytext=(_LABELS_AT, height),
            textcoords=("axes fraction", "data"),
            va="center",
            color=INK,
            fontsize=9,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 1.0,
                "relpos": (0, 0.5),
                "shrinkA": 2,
                "shrinkB": 4,
            },
        )


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move places apart until neighbours differ by ``gap``, in the same order and, if they fit, in limits.

    Args:
        values: where they would like to be.
        gap: smallest distance, in the same unit.
        low: lower limit.
        high: upper limit.

    Returns:
        A place for each value.
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    places = [min(max(value, low), high) for value in values]
    for before, after in pairwise(order):  # push upwards
        places[after] = max(places[after], places[before] + gap)
    ceiling = high
    for i in reversed(order):  # and back below the upper limit
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    return places


def _save(figure: Figure, path: Path) -> None:
    write_with(path, lambda file: figure.savefig(file, format="png"))
