"""The pieces that sections are made of: tables, figures with the data behind them, lists of facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from robustcmr.reporting.page.html import Html, joined, shown, tag
from robustcmr.reporting.page.line_chart import LineChart

MOST_ROWS = 1000
"""Rows of the table behind a chart; of more numbers some are left out, which is said."""


class Chart(Protocol):
    """What can be drawn."""

    def draw(self) -> Html:
        """As SVG."""
        ...

    def legend(self) -> Html:
        """Which is which."""
        ...


def table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[str | Html]], text: bool = False
) -> Html:
    """A table whose first column names its rows.

    Args:
        caption: what it shows.
        head: names of the columns; none for a table of names and values.
        rows: cells of each row.
        text: whether the cells hold text rather than numbers.
    """
    top = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head))) if any(head) else None
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    inner = tag(
        "table",
        tag("caption", caption),
        top,
        tag("tbody", *body),
        class_="text" if text else None,
    )
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def figure(title: str, chart: Chart, data: Html, note: str | None = None) -> Html:
    """A chart under its title, with its legend and, folded away, its numbers."""
    return tag(
        "figure",
        tag("figcaption", tag("h3", title), tag("p", note) if note is not None else None),
        chart.draw(),
        chart.legend(),
        folded("Numbers of this chart", data),
    )


def line_figure(title: str, chart: LineChart, note: str | None = None) -> Html:
    """A line chart with the table of its values."""
    head = [chart.x_name, *(line.name for line in chart.lines)]
    n = len(chart.x)
    step = -(-n // MOST_ROWS)
    places = sorted({*range(0, n, step), n - 1})
    rows = [[shown(chart.x[at]), *(shown(line.values[at]) for line in chart.lines)] for at in places]
    data = table(title, head, rows)
    if step > 1:
        data = joined(tag("p", f"Every {step}th of {n:,} values; the files of the run hold them all."), data)
    return figure(title, chart, data, note)


def folded(summary: str, content: Html) -> Html:
    """Something to open."""
    return tag("details", tag("summary", summary), content)


def grid(*figures: Html) -> Html:
    """Figures beside each other where there is room."""
    return tag("div", *figures, class_="grid")


def tiles(facts: Mapping[str, Html]) -> Html:
    """A few numbers in large type."""
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()),
        class_="tiles",
    )


def facts(caption: str, entries: Mapping[str, object]) -> Html:
    """Names and values, one a row; what is None is left out."""
    rows = [[name, shown(value)] for name, value in entries.items() if value is not None]
    return table(caption, [], rows, text=True)


def paragraphs(*content: Html | None) -> Html:
    """Pieces below each other; None is left out."""
    return joined(*content)
