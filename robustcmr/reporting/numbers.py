"""One way to write a number, on pages and in charts."""

from __future__ import annotations

import math
from typing import Any

_FORMATS = {"share": ".1f", "percent": ".1f", "score": "z.2f", "margin": "+.2f", "evidence": "z.1f"}


def as_text(value: Any, form: str = "number") -> str:
    """Write a value for a reader.

    Args:
        value: a number, True or False, text, or None for nothing.
        form: ``share`` for 0..1 written in percent, ``percent`` for a percentage, ``score`` or ``margin`` for
            a similarity or a difference of two, ``evidence``, or ``number`` for any other.

    Returns:
        Percentages and evidence with one decimal, scores with two, margins also with their sign; whole
        numbers in full, thousands grouped; other numbers to four significant digits and at most six decimals,
        never with an exponent.

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
    if form in _FORMATS:
        return f"{100 * value if form == 'share' else value:{_FORMATS[form]}}"
    if isinstance(value, int):
        return f"{value:,}"
    if 0 < abs(value) < 1e-6:
        return "<0.000001" if value > 0 else ">−0.000001"
    decimals = 0 if value == 0 else min(6, max(0, 3 - math.floor(math.log10(abs(value)))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
