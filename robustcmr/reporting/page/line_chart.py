"""Lines over epochs or noise rates, as a drawing and as words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from robustcmr.reporting.page.frame import BOTTOM, HEIGHT, TOP, Frame, axes, drawing, limits
from robustcmr.reporting.page.html import Html, joined, place, rounded, tag
from robustcmr.reporting.page.style import SERIES

_MOST_DOTTED = 40  # points of a line, beyond which dots would merge

Values = Sequence[float | None]


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: what it is.
        values: one for each place on the horizontal axis; None, NaN or infinite where there is none.
        spread: half the length of the error bar at each value, or None for no error bars.
    """

    name: str
    values: Values
    spread: Values | None = None


@dataclass(frozen=True)
class LineChart:
    """Lines that share their axes.

    Attributes:
        x: places on the horizontal axis, ascending.
        lines: at most ``SERIES`` of them.
        x_name: what the horizontal axis shows.
        y_name: what the vertical axis shows, with its unit.
        whole_x: whether only whole numbers stand on the horizontal axis.
        floor: where the vertical axis starts at the latest, or None.
        ceiling: where it ends at the latest, or None.
        mark: a place on the horizontal axis to mark, with a word, or None.

    Raises:
        ValueError: there are no places, too many lines, or a line has not one value a place.
    """

    x: Sequence[float]
    lines: Sequence[Line]
    x_name: str
    y_name: str
    whole_x: bool = True
    floor: float | None = None
    ceiling: float | None = None
    mark: tuple[float, str] | None = None

    def __post_init__(self) -> None:
        if not self.x:
            raise ValueError("there is nothing to draw; give at least one place on the horizontal axis")
        if len(self.lines) > SERIES:
            raise ValueError(f"got {len(self.lines)} lines for a chart; give at most {SERIES}")
        for line in self.lines:
            if len(line.values) != len(self.x):
                raise ValueError(
                    f"{line.name} has {len(line.values)} values for {len(self.x)} places; give one a place"
                )

    def draw(self) -> Html:
        """The chart as SVG; a gap where a line has no value."""
        frame = Frame(_room(self.x), self._y_limits())
        parts = [axes(frame, self.x_name, self.y_name, self.whole_x)]
        if self.mark is not None:
            x = frame.across(self.mark[0])
            parts.append(tag("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="mark"))
            anchor = "end" if x > 300 else "start"
            beside = x + (-5 if anchor == "end" else 5)
            parts.append(tag("text", self.mark[1], x=beside, y=TOP + 12, text_anchor=anchor, class_="soft"))
        parts += [self._line(frame, number) for number in range(len(self.lines))]
        return drawing(joined(*parts), self.describe())

    def describe(self) -> str:
        """The chart in words."""
        over = f"{len(self.x)} values" if len(self.x) > 1 else "one value"
        told = []
        for line in self.lines:
            known = [float(value) for value in line.values if is_known(value)]
            ends = f"from {rounded(known[0], 3)} to {rounded(known[-1], 3)}" if known else "not known"
            told.append(f"{line.name} {ends}")
        return f"{self.y_name} by {self.x_name}, {over}: {'; '.join(told)}."

    def legend(self) -> Html:
        """Which line is which: a swatch with its colour, dash and dot beside each name."""
        entries = []
        for number, line in enumerate(self.lines):
            swatch = tag(
                "svg",
                tag("line", x1=0.0, x2=32.0, y1=8.0, y2=8.0, class_=f"curve s{number} d{number}"),
                dot(number, 16.0, 8.0),
                viewBox="0 0 32 16",
                aria_hidden="true",
            )
            entries.append(tag("li", swatch, line.name))
        return tag("ul", *entries, class_="legend")

    def _y_limits(self) -> tuple[float, float]:
        found = []
        for line in self.lines:
            spreads = line.spread if line.spread is not None else [0.0] * len(line.values)
            for value, spread in zip(line.values, spreads, strict=True):
                if is_known(value):
                    reach = float(spread) if is_known(spread) else 0.0
                    found += [float(value) - reach, float(value) + reach]
        low, high = limits(found or [0.0, 1.0], self.floor)
        return low, high if self.ceiling is None or max(found or [0.0]) > self.ceiling else min(
            high, self.ceiling
        )

    def _line(self, frame: Frame, number: int) -> Html:
        line = self.lines[number]
        points = [
            (frame.across(x), frame.up(float(value))) if is_known(value) else None
            for x, value in zip(self.x, line.values, strict=True)
        ]
        path, pen = [], "M"
        for point in points:
            if point is None:
                pen = "M"
                continue
            path.append(f"{pen}{place(point[0])} {place(point[1])}")
            pen = "L"
        parts = [tag("path", d="".join(path), class_=f"curve s{number} d{number}")] if path else []
        if line.spread is not None:
            parts += self._bars(frame, number)
        if sum(point is not None for point in points) <= _MOST_DOTTED:
            parts += [dot(number, *point) for point in points if point is not None]
        return joined(*parts)

    def _bars(self, frame: Frame, number: int) -> list[Html]:
        line, bars = self.lines[number], []
        shift = 3.0 * (number - (len(self.lines) - 1) / 2)  # bars of several lines lie beside each other
        for x, value, spread in zip(self.x, line.values, line.spread or (), strict=True):
            if is_known(value) and is_known(spread):
                low, high = (frame.up(float(value) + sign * float(spread)) for sign in (-1, 1))
                at = frame.across(x) + shift
                path = f"M{place(at - 4)} {place(high)}h8m-4 0V{place(low)}m-4 0h8"
                bars.append(tag("path", d=path, class_=f"band s{number}", fill="none"))
        return bars


def is_known(value: float | None) -> TypeGuard[float]:
    """Whether it is a finite number."""
    return value is not None and math.isfinite(value)


def dot(number: int, x: float, y: float) -> Html:
    """The mark of a line at a point; each line has another shape."""
    shapes = (
        "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
        "M-4-4h8v8h-8z",
        "M0-5L5 4H-5z",
        "M0-5L5 0L0 5L-5 0z",
        "M0 5L5-4H-5z",
        "M-5-1.5h3.5v-3.5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5z",
    )
    move = f"translate({place(x)} {place(y)})"
    return tag("path", d=shapes[number % SERIES], transform=move, class_=f"dot f{number}")


def _room(x: Sequence[float]) -> tuple[float, float]:
    low, high = float(x[0]), float(x[-1])
    if high > low:
        room = 0.02 * (high - low)
        return low - room, high + room
    return low - 1, high + 1
