"""The frame of a chart: ticks, axes and where numbers lie on the drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from robustcmr.reporting.page.html import Html, joined, tag

WIDTH, HEIGHT = 480.0, 300.0
"""Units of a drawing; it scales to the room there is."""

_LEAST = 1e-300
"""A smaller number counts as 0."""

LEFT, RIGHT, TOP, BOTTOM = 62.0, 14.0, 34.0, 52.0


@dataclass(frozen=True)
class Frame:
    """What part of the numbers a chart shows.

    Attributes:
        x: lower and upper limit of the horizontal axis, the second larger.
        y: the same of the vertical axis.
    """

    x: tuple[float, float]
    y: tuple[float, float]

    def across(self, value: float) -> float:
        """Where a number lies from the left."""
        low, high = self.x
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    def up(self, value: float) -> float:
        """Where a number lies from the top; within the axes."""
        low, high = self.y
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """Round numbers that cover an interval.

    Args:
        low: lower end.
        high: upper end, not smaller.
        most: how many at most, about.
        whole: whole numbers alone.

    Returns:
        Ascending multiples of 1, 2 or 5 times a power of ten within the interval; at least one.
    """
    if high <= low:
        return [low]
    raw = (high - low) / max(1, most - 1)
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * 0.999)
    step = max(1.0, round(step)) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    found = [float(f"{index * step:.12g}") for index in range(first, last + 1)]
    return found or [low]


def limits(values: Sequence[float], floor: float | None = None) -> tuple[float, float]:
    """Limits of an axis: round numbers around the values.

    Args:
        values: finite numbers, at least one.
        floor: a number the axis starts from at the latest; None for none.

    Returns:
        Lower and upper limit, the second larger.
    """
    low, high = min(values), max(values)
    low = low if floor is None else min(low, floor)
    size = max(abs(low), abs(high))
    if high - low <= 1e-9 * size or size < _LEAST:
        room = 0.5 * size if size >= _LEAST else 1.0
        low, high = (low, high + room) if low == floor else (low - room, high + room)
    marks = ticks(low, high)
    step = marks[1] - marks[0] if len(marks) > 1 else high - low
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def tick_text(value: float) -> str:
    """A number beside an axis."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def axes(frame: Frame, x_name: str, y_name: str, whole_x: bool = False) -> Html:
    """Grid, axes, their numbers and names.

    Args:
        frame: what is shown.
        x_name: what the horizontal axis shows, with its unit.
        y_name: what the vertical axis shows.
        whole_x: whether only whole numbers stand on the horizontal axis.
    """
    base, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in ticks(*frame.y):
        y = frame.up(value)
        parts.append(tag("line", x1=LEFT, x2=end, y1=y, y2=y, class_="grid-line"))
        parts.append(tag("text", tick_text(value), x=LEFT - 7, y=y + 5, text_anchor="end"))
    for value in ticks(*frame.x, 8, whole_x):
        x = frame.across(value)
        parts.append(tag("line", x1=x, x2=x, y1=base, y2=base + 5, class_="axis"))
        parts.append(tag("text", tick_text(value), x=x, y=base + 20, text_anchor="middle"))
    parts.append(tag("line", x1=LEFT, x2=end, y1=base, y2=base, class_="axis"))
    middle = (LEFT + end) / 2
    parts.append(tag("text", x_name, x=middle, y=HEIGHT - 8, text_anchor="middle", class_="soft"))
    parts.append(tag("text", y_name, x=6.0, y=16.0, class_="soft"))
    return joined(*parts)


def drawing(content: Html, description: str) -> Html:
    """A chart that a reader of the page aloud describes in words."""
    box = f"0 0 {WIDTH:g} {HEIGHT:g}"
    return tag("svg", content, viewBox=box, role="img", aria_label=description)
