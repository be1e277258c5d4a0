"""How numbers are spread: bars on top of each other, curves fitted to them, and where they were cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from robustcmr.reporting.page.frame import BOTTOM, HEIGHT, TOP, Frame, axes, drawing, limits
from robustcmr.reporting.page.html import Html, joined, place, rounded, tag

_CURVES = (0, 1)  # colours


@dataclass(frozen=True)
class Bars:
    """One kind of what is counted.

    Attributes:
        name: what it is.
        heights: one a bin, >= 0.
        count: how many there are in all.
    """

    name: str
    heights: Sequence[float]
    count: int


@dataclass(frozen=True)
class Curve:
    """A line over the bars.

    Attributes:
        name: what it is.
        x: places, ascending.
        y: heights; infinite ones are left out.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Histogram:
    """Bars with curves over them.

    Attributes:
        edges: of the bins, ascending, one more than bins.
        bars: one or two kinds, drawn on top of each other.
        curves: up to two.
        cut: where the numbers were parted, or None.
        top: how high the drawing reaches; higher bars are cut off.
        x_name: what the horizontal axis shows.
        y_name: what the vertical axis shows.
    """

    edges: Sequence[float]
    bars: Sequence[Bars]
    curves: Sequence[Curve]
    cut: float | None
    top: float
    x_name: str
    y_name: str

    def draw(self) -> Html:
        """The chart as SVG."""
        frame = Frame((self.edges[0], self.edges[-1]), limits([0.0, self.top], 0.0))
        parts = [axes(frame, self.x_name, self.y_name)]
        base = [0.0] * (len(self.edges) - 1)
        for number, bars in enumerate(self.bars):
            parts += self._bars(frame, number, bars, base)
            base = [below + height for below, height in zip(base, bars.heights, strict=True)]
        for number, curve in zip(_CURVES, self.curves, strict=False):
            parts.append(self._curve(frame, number, curve))
        if self.cut is not None and self.edges[0] <= self.cut <= self.edges[-1]:
            x = frame.across(self.cut)
            parts.append(tag("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="cut"))
        return drawing(joined(*parts), self.describe())

    def describe(self) -> str:
        """The chart in words."""
        kinds = " and ".join(f"{bars.count:,} {bars.name}" for bars in self.bars)
        fitted = f", with {len(self.curves)} fitted curves" if self.curves else ""
        cut = f", parted at {rounded(self.cut, 3)}" if self.cut is not None else ""
        span = f"{rounded(self.edges[0], 3)} to {rounded(self.edges[-1], 3)}"
        return f"Histogram of {self.x_name} from {span}: {kinds}{fitted}{cut}."

    def legend(self) -> Html:
        """Which bar, curve and line is which."""
        entries = []
        for number, bars in enumerate(self.bars):
            box = tag("rect", x=4.0, y=1.0, width=24.0, height=14.0, class_=f"b{number}")
            entries.append((box, f"{bars.name} ({bars.count:,})"))
        for number, curve in zip(_CURVES, self.curves, strict=False):
            line = tag("line", x1=0.0, x2=32.0, y1=8.0, y2=8.0, class_=f"curve s{number} d{number}")
            entries.append((line, curve.name))
        if self.cut is not None:
            line = tag("line", x1=16.0, x2=16.0, y1=0.0, y2=16.0, class_="cut")
            entries.append((line, f"suspected above {rounded(self.cut, 3)}"))
        items = [
            tag("li", tag("svg", swatch, viewBox="0 0 32 16", aria_hidden="true"), name)
            for swatch, name in entries
        ]
        return tag("ul", *items, class_="legend")

    def _bars(self, frame: Frame, number: int, bars: Bars, base: Sequence[float]) -> list[Html]:
        drawn = []
        for left, right, below, height in zip(self.edges, self.edges[1:], base, bars.heights, strict=False):
            if height > 0:
                x, end = frame.across(left), frame.across(right)
                low, high = frame.up(below), frame.up(below + height)
                drawn.append(tag("rect", x=x, y=high, width=end - x, height=low - high, class_=f"b{number}"))
        return drawn

    def _curve(self, frame: Frame, number: int, curve: Curve) -> Html:
        low, high = frame.x
        points = [
            f"{place(frame.across(x))} {place(frame.up(y))}"
            for x, y in zip(curve.x, curve.y, strict=True)
            if math.isfinite(y) and low <= x <= high
        ]
        return tag("polyline", points=" ".join(points), class_=f"curve s{number} d{number}")
