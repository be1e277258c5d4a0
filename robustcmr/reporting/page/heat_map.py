"""Numbers on a grid as a coloured table, readable by eye and aloud, the same in light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from robustcmr.reporting.page.html import Html, tag

_PALE, _DEEP = (247, 251, 255), (8, 48, 107)  # one hue from light to dark: safe for the colour-blind
_GREY = "#d9d9d9"


def cell_colours(share: float | None) -> tuple[str, str]:
    """Background and text of a cell; the text has a contrast of 4.5 or more.

    Args:
        share: 0..1 how deep the colour is; None for no value.

    Returns:
        Two colours as ``#rrggbb``.
    """
    if share is None or not math.isfinite(share):
        return _GREY, "#000000"
    share = min(1.0, max(0.0, share))
    mixed = [round(pale + (deep - pale) * share) for pale, deep in zip(_PALE, _DEEP, strict=True)]
    background = "#" + "".join(f"{part:02x}" for part in mixed)
    dark_text = contrast(background, "#000000") >= contrast(background, "#ffffff")
    return background, "#000000" if dark_text else "#ffffff"


def contrast(first: str, second: str) -> float:
    """How well two colours can be told apart, 1..21, as the WCAG count it."""
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def heat_map(
    caption: str,
    corner: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    share: Callable[[float], float],
    show: Callable[[float], str | Html],
) -> Html:
    """A table whose cells are coloured by their value.

    Args:
        caption: what it shows.
        corner: what rows and columns are.
        rows: their names.
        columns: their names.
        values: one list a row; None where there is none.
        share: how deep the colour of a value is, 0..1.
        show: how a value is written.
    """
    head = tag("tr", tag("th", corner, scope="col"), *(tag("th", name, scope="col") for name in columns))
    body = []
    for name, line in zip(rows, values, strict=True):
        cells = []
        for value in line:
            back, ink = cell_colours(None if value is None else share(value))
            text = "–" if value is None else show(value)
            cells.append(tag("td", text, style=f"background:{back};color:{ink}"))
        body.append(tag("tr", tag("th", name, scope="row"), *cells))
    table = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body), class_="heat")
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)
