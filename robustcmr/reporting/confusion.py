"""Heat maps of class labels against the truth: the given ones above the corrected ones."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from noise_injection.printing import visible
from robustcmr.reporting.charts import DPI, SIZE, STYLE, Chart, Table


def confusion_chart(
    given: npt.NDArray[np.int64], corrected: npt.NDArray[np.int64], class_names: Sequence[str]
) -> Chart:
    """Draw how pairs of each true class are labelled, before and after correction: two heat maps.

    Cells are shares of their row, coloured by the square root, so that small shares differ from none.

    Args:
        given: (K, K) counts >= 0, entry (a, b) how many given labels are b where the truth is a.
        corrected: (K, K) counts >= 0, the same of corrected labels.
        class_names: K names; long ones are cut.

    Raises:
        ValueError: there are no classes, a matrix is not (K, K), or it holds a negative count or none at all.
    """
    k = len(class_names)
    for name, counts in (("given", given), ("corrected", corrected)):
        if k == 0 or counts.shape != (k, k) or counts.min() < 0 or counts.sum() == 0:
            raise ValueError(
                f"{name} must be ({k}, {k}) counts of labels for {k} class names, none negative and not all "
                f"0, got shape {counts.shape}"
            )
    matrices = {"Given labels": given, "Corrected labels": corrected}
    titles = {
        name: f"{name}: {100 * np.trace(counts) / counts.sum():.1f}% right"
        for name, counts in matrices.items()
    }
    names = [visible(" ".join(name.split())) for name in class_names]
    step = -(-k // 34)  # one in so many classes is named
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(SIZE[0], 2.1 * SIZE[1]), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        for axes, (name, counts) in zip(figure.subplots(2, 1), matrices.items(), strict=True):
            _heat_map(axes, counts)
            axes.set_title(titles[name], loc="left", fontsize=11)
            some = [name if len(name) <= 18 else f"{name[:17].rstrip()}…" for name in names[::step]]
            size = 9.0 if k <= 12 else 8.0 if k <= 24 else 6.5
            axes.set_xticks(range(0, k, step), some, rotation=55, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(0, k, step), some)
            axes.tick_params(labelsize=size, length=2)
            axes.set_ylabel("true class")
            axes.set_xlabel("label")
    tables = []
    for title, counts in matrices.items():
        rows = [(name, *map(int, row)) for name, row in zip(names, counts, strict=True)]
        tables.append(Table(title, ("true class", *names), rows))
    note = "Percent of each true class (row) that carries each label (column); the diagonal is right."
    if step > 1:
        note += f" One in {step} of {k} classes is named."
    if not (given.sum(axis=1).all() and corrected.sum(axis=1).all()):
        note += " Grey rows: no pair is of that class."
    description = f"Two heat maps of labels by true class. {'; '.join(titles.values())}."
    return Chart("Labels by true class", figure, description, tuple(tables), note)


def _heat_map(axes: Axes, counts: npt.NDArray[np.int64]) -> None:
    totals = counts.sum(axis=1, keepdims=True)  # (K, 1)
    shares = np.ma.masked_invalid(np.where(totals > 0, counts / np.maximum(totals, 1), np.nan))
    blues = mpl.colormaps["Blues"].with_extremes(bad="#d9d9d9")  # one hue: safe for the colour-blind
    norm = mpl.colors.PowerNorm(0.5, 0, 1)
    axes.imshow(shares, cmap=blues, norm=norm, aspect="auto", interpolation="nearest")
    axes.spines[:].set_visible(False)
    if len(counts) > 20:  # cells are too small for a number
        return
    for (row, column), share in np.ndenumerate(shares.filled(0.0)):
        if share > 0:
            text = "<1" if share < 0.005 else f"{100 * share:.0f}"
            colour = "#fefefe" if share > 0.4 else "#101010"  # fixed, as cells keep their colours in the dark
            size = 9.0 if len(counts) <= 12 else 7.0
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
