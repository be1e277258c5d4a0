"""One way to write a number, on pages and in charts."""

from __future__ import annotations

import math
from typing import Any


def as_text(value: Any, form: str = "number") -> str:
    """Write a value for a reader.

    Args:
        value: a number, True or False, text, or None for nothing.
        form: ``share`` for 0..1 written in percent, ``percent`` for a percentage, ``number`` for any other.

    Returns:
        Percentages with one decimal and no sign; whole numbers in full, thousands grouped; other numbers to
        four significant digits and at most six decimals, never with an exponent.

    Example:
        >>> as_text(0.3707, "share"), as_text(7500), as_text(0.0005), as_text(12.4008)
        ('37.1', '7,500', '0.0005', '12.4')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if form in ("share", "percent"):
        return f"{100 * value if form == 'share' else value:.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    if 0 < abs(value) < 1e-6:
        return "<0.000001" if value > 0 else ">−0.000001"
    decimals = 0 if value == 0 else min(6, max(0, 3 - math.floor(math.log10(abs(value)))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
