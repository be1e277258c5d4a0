"""Charts drawn once with matplotlib: PNG files in ``plots/``, and the same figures as SVG inside pages.

In a page the colours become CSS variables, so that a chart follows the light or dark theme.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from noise_injection.printing import visible
from robustcmr.files import write_with
from robustcmr.reporting.numbers import as_text

INK, MUTED, LINE, CARD, BAR = "#1b2129", "#4d5866", "#d5dae1", "#ffffff", "#c4cad3"
SERIES = ("#0b5fa5", "#b4460b", "#0a7a5c", "#8a3f86", "#7a5c00", "#64707f")
"""Colours of the lines of a chart; it holds at most as many lines."""

PARTS = ("#a9cdec", "#f0b78c")
"""Colours of the two kinds of bars of a histogram."""

_VARIABLES = {
    **{INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", CARD: "var(--card)"},
    **{colour: f"var(--c{place})" for place, colour in enumerate(SERIES)},
    **{PARTS[0]: "var(--bar0)", PARTS[1]: "var(--bar1)", BAR: "var(--bar)"},
}
STYLE: Any = {
    **{"font.size": 11.0, "text.color": INK, "text.parse_math": False, "svg.fonttype": "none"},
    **{"axes.labelcolor": INK, "axes.edgecolor": MUTED, "axes.grid": True, "axes.grid.axis": "y"},
    **{"axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "grid.color": LINE},
    **{"xtick.color": INK, "ytick.color": INK, "legend.frameon": False, "legend.fontsize": 10.0},
    **{"lines.linewidth": 1.8, "svg.hashsalt": "robustcmr", "svg.image_inline": True},
}
SIZE = (5.6, 3.9)  # inches: letters stay readable on a phone
DPI = 180
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (9, 3)), (0, (3, 1.5)))
_MOST_MARKED = 40  # points of a line, beyond which markers would merge
_MOST_ROWS = 1000  # of the table behind a chart

Form = Literal["share", "percent", "number"]
"""How numbers are written: a share in 0..1 as a percentage, a percentage as it is, or any other number."""

Values = Sequence[float | None]


@dataclass(frozen=True)
class Table:
    """Numbers as a page shows them.

    Attributes:
        caption: what they are.
        columns: headings; the first is that of the rows' names.
        rows: a name and a value for each further column; None where there is none.
        form: how the values are written.
    """

    caption: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    form: Form = "number"


@dataclass(frozen=True)
class Chart:
    """A figure with its description in words and its numbers.

    Attributes:
        title: a heading.
        figure: what is drawn; without the title.
        description: what a screen reader says in its place.
        tables: the numbers drawn.
        note: a sentence for the reader, or "".
    """

    title: str
    figure: Figure
    description: str
    tables: tuple[Table, ...]
    note: str = ""

    def svg(self, key: str) -> Markup:
        """Return the figure as markup for a page, always the same bytes; ``key`` is put before every id."""
        file = StringIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        text = file.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
        head, rest = text.split(">", 1)
        head = re.sub(r' (xmlns(:\w+)?|width|height|version)="[^"]*"', "", head)
        text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", f"{head}>{rest}")
        text = re.sub(r"; font-family: [^;\"]*", "", text)  # that of the page
        text = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{key}-", text)
        text = re.sub(r"#[0-9a-f]{6}\b", lambda found: _VARIABLES.get(found[0], found[0]), text)
        text = re.sub(r"\n\s*", "\n", text)
        text = f'<svg role="img" aria-label="{escape(self.description)}"' + text.removeprefix("<svg")
        return Markup(visible(text))  # matplotlib has escaped its own texts

    def save(self, path: Path) -> None:
        """Write the figure under its title as a PNG, atomically.

        Raises:
            UserError: the file cannot be written.
        """
        with mpl.rc_context(STYLE):
            title = self.figure.suptitle(visible(self.title), x=0.01, ha="left", fontsize=12)
            write_with(path, lambda file: self.figure.savefig(file, format="png", dpi=DPI, facecolor=CARD))
            title.set_text("")
            title.set_in_layout(False)


def line_chart(
    title: str,
    x: Sequence[float],
    lines: Mapping[str, Values],
    unit: str,
    form: Form = "number",
    *,
    x_name: str = "epoch",
    mark: float | None = None,
    spreads: Mapping[str, Values] | None = None,
    ceiling: float | None = None,
    logarithmic: bool = False,
    note: str = "",
) -> Chart | None:
    """Draw lines over epochs, noise ratios or ranks.

    Args:
        title: a heading.
        x: places on the horizontal axis, ascending.
        lines: a value for each place, by the line's name; None where there is none. At most six.
        unit: what the values are.
        form: how they are written; shares are drawn in percent.
        x_name: what the horizontal axis shows.
        mark: a place to mark, at which the legend gives the values; the last place otherwise.
        spreads: half the length of an error bar at each value, by the line's name.
        ceiling: highest possible value, beyond which no empty room is drawn.
        logarithmic: whether the horizontal axis is.
        note: a sentence for the reader.

    Returns:
        The chart; None where no line has two values, as one point needs no chart.

    Raises:
        ValueError: there are too many lines, or a line has not one value for each place.
    """
    if len(lines) > len(SERIES):
        raise ValueError(f"got {len(lines)} lines for a chart, expected at most {len(SERIES)}")
    for name, given in lines.items():
        if len(given) != len(x):
            raise ValueError(f"{name} has {len(given)} values for {len(x)} places, expected one for each")
    scale = 100.0 if form == "share" else 1.0
    drawn_form: Form = "number" if form == "number" else "percent"
    drawn = {name: scale * np.array([_real(v) for v in values]) for name, values in lines.items()}
    if not any(np.isfinite(values).sum() > 1 for values in drawn.values()):
        return None
    with mpl.rc_context(STYLE):
        figure, axes = canvas()
        mark = mark if mark in x else None
        at = len(x) - 1 if mark is None else list(x).index(mark)
        for place, (name, values) in enumerate(drawn.items()):
            known = np.flatnonzero(np.isfinite(values))
            shown = values[at if at in known else known[-1]] if len(known) else None
            value = "" if shown is None else f"  {as_text(float(shown), drawn_form)}"
            style: dict[str, Any] = {"color": SERIES[place], "linestyle": _DASHES[place]}
            if len(x) <= _MOST_MARKED:
                style |= {"marker": _MARKERS[place], "markersize": 5}
                style |= {"markeredgecolor": CARD, "markeredgewidth": 0.6}
            error = None if spreads is None else [scale * _real(v) for v in spreads[name]]
            axes.errorbar(
                list(x), values, error, label=_label(name + value), capsize=3, elinewidth=1.2, **style
            )
        axes.set_ylabel(visible(unit))
        axes.set_xlabel(visible(x_name))
        low, high = axes.get_ylim()
        top = high if ceiling is None else min(high, 1.02 * scale * ceiling)
        axes.set_ylim(min(0.0, low) if form != "number" or low < 0.2 * high else low, top)
        if mark is not None:
            axes.axvline(mark, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        if logarithmic:
            axes.set_xscale("log")
            ticks = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
            axes.xaxis.set_major_locator(FixedLocator([k for k in ticks if k <= x[-1]]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=x_name == "epoch"))
        legend(figure, axes, f"{x_name} = {x[at]:g}")
    ends = []
    for name, values in drawn.items():
        if len(real := values[np.isfinite(values)]):
            first, last = (as_text(float(value), drawn_form) for value in (real[0], real[-1]))
            ends.append(f"{name} from {first} to {last}")
    step = -(-len(x) // _MOST_ROWS)
    places = sorted({*range(0, len(x), step), len(x) - 1})
    columns: dict[str, Values] = {}
    for name, given in lines.items():
        columns[name] = given
        if spreads is not None:
            columns[f"{name} ±"] = spreads[name]
    rows = [(_name(x[i]), *(values[i] for values in columns.values())) for i in places]
    if step > 1:
        note = f"{note} The table holds every {step}th of {len(x):,} values.".strip()
    table = Table(title, (x_name, *columns), rows, form)
    return Chart(title, figure, f"{title}. {'; '.join(ends)}.", (table,), note)


def histogram(
    title: str,
    parts: Mapping[str, npt.NDArray[np.float64]],
    x_name: str,
    *,
    bins: int,
    cut: float | None = None,
    curves: Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] | None = None,
    note: str = "",
) -> Chart:
    """Draw how numbers are distributed: stacked bars, curves over them, and the place of the cut.

    A few far outliers, and bars far higher than all others, are cut off; the note says so.

    Args:
        title: a heading.
        parts: the numbers, finite, by kind; one or two kinds.
        x_name: name of the numbers.
        bins: number of bars.
        cut: a place to mark above which pairs are suspected.
        curves: places and densities, by name.
        note: a sentence for the reader.

    Raises:
        ValueError: there are no numbers.
    """
    every = np.concatenate(list(parts.values()))
    if not len(every):
        raise ValueError("there are no numbers to draw; give at least one")
    low, high = _inner_range(every)
    edges = np.linspace(low, high, bins + 1)
    width = float(edges[1] - edges[0])
    counts = {name: np.histogram(values, edges)[0] for name, values in parts.items()}
    heights = np.sum(list(counts.values()), axis=0) / (len(every) * width)
    top = _bar_limit(heights)
    with mpl.rc_context(STYLE):
        figure, axes = canvas()
        base = np.zeros(bins)
        colours = PARTS if len(parts) > 1 else (BAR,)
        for (name, found), colour in zip(counts.items(), colours, strict=True):
            bars = found / (len(every) * width)
            label = _label(f"{name} ({len(parts[name]):,})")
            axes.bar(edges[:-1], bars, width, base, align="edge", color=colour, label=label)
            base = base + bars
        for place, (name, (at, density)) in enumerate((curves or {}).items()):
            finite = np.where(np.isfinite(density), density, np.nan)  # a density may diverge at a border
            axes.plot(at, finite, color=SERIES[place], linestyle=_DASHES[place], label=_label(name))
        if cut is not None:
            label = f"suspected above {as_text(cut)}"
            axes.axvline(cut, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=label)
        axes.set_xlim(low, high)
        axes.set_ylim(0, top)
        axes.set_xlabel(x_name)
        axes.set_ylabel("density")
        legend(figure, axes)
    outside = int(((every < low) | (every > high)).sum())
    notes = [note] if note else []
    if outside:
        notes.append(f"{outside:,} {'pair lies' if outside == 1 else 'pairs lie'} outside the range drawn.")
    if heights.max() > top:
        notes.append(f"The highest bar is cut off; it reaches {as_text(float(heights.max()))}.")
    kinds = " and ".join(f"{len(values):,} {name}" for name, values in parts.items())
    description = f"Histogram of {x_name} from {as_text(low)} to {as_text(high)}: {kinds}"
    description += "" if cut is None else f", cut at {as_text(cut)}"
    rows = [
        (f"{as_text(float(left))} to {as_text(float(right))}", *(int(found[i]) for found in counts.values()))
        for i, (left, right) in enumerate(pairwise(edges))
    ]
    table = Table("Pairs by evidence", (x_name, *parts), rows)
    return Chart(title, figure, f"{description}.", (table,), " ".join(notes))


def canvas() -> tuple[Figure, Axes]:
    """Return a figure of the usual size with its axes; call it, and draw, under ``mpl.rc_context(STYLE)``."""
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _label(text: str) -> str:
    """Return a line's name for the legend, from which matplotlib leaves out those that start with ``_``."""
    return f" {visible(text)}" if text.startswith("_") else visible(text)


def legend(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """Put the names of what was drawn below the axes."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 1 if max(map(len, labels)) > 34 else 2
    style: Any = {"title_fontsize": 10.0, "columnspacing": 1.2, "handlelength": 2.6, "labelcolor": INK}
    place: Any = {"loc": "outside lower left", "alignment": "left", "ncols": columns}
    figure.legend(handles, labels, title=title, **place, **style)


def _inner_range(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The range to draw: all numbers, unless a few at an end would squeeze the rest."""
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = (float(q) for q in np.quantile(values, [0.002, 0.998]))
    reach = 0.25 * (inner_high - inner_low)
    if reach > 0:
        low, high = max(low, inner_low - reach), min(high, inner_high + reach)
    size = max(abs(low), abs(high))
    if high - low > 1e-6 * size:
        return low, high
    room = 0.05 * size if size > 0 else 0.5  # all the same: one bar in the middle
    return low - room, high + room


def _bar_limit(heights: npt.NDArray[np.float64]) -> float:
    """The height of a histogram: over its highest bar, unless one or two tower above all others."""
    highest, third = float(heights.max()), float(np.sort(heights)[-3])
    return 2 * third if 0 < third < highest / 4 else 1.08 * highest or 1.0


def _real(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else float(value)


def _name(place: float) -> str:
    return f"{int(place):,}" if float(place).is_integer() else f"{place:g}"
