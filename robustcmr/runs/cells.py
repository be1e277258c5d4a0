"""Cells of the tables that a run writes: numbers as text, and back with a sentence where they are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def six_digits(values: npt.NDArray[np.floating[Any]]) -> list[float | str]:
    """Numbers as they are written, to six digits; an empty cell for NaN."""
    return ["" if value != value else float(f"{value:.6g}") for value in values.tolist()]


def whole_number(column: str, text: str) -> int:
    """A number of at least 0 from its cell.

    Raises:
        ValueError: it is none.
    """
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{column} is '{text}', expected a whole number from 0")
    return int(text)


def finite_number(column: str, text: str) -> float:
    """A finite number from its cell.

    Raises:
        ValueError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f"{column} is '{text}', expected a finite number")
    return value
