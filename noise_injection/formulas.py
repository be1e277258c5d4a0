"""Cells of tables that a spreadsheet would run as formulas, such as a caption ``=HYPERLINK(...)``."""

from __future__ import annotations

import re

_STARTS = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # the last four are the same signs in full width
_RUN = re.compile(f"[{_STARTS}]")
_QUOTED = re.compile(f"'*[{_STARTS}]")


def is_formula(cell: str) -> bool:
    """Return whether a spreadsheet would run the text: it starts with a sign of formulas and is no number.

    Example:
        >>> [is_formula(cell) for cell in ("=1+1", "@SUM(A1)", "-3.5", "- a dash", "a dog")]
        [True, True, False, True, False]
    """
    return _RUN.match(cell) is not None and not _is_number(cell)


def neutral(cell: str) -> str:
    """Return the text with a ``'`` before a formula, so that a spreadsheet shows it as text.

    Text that has such quotes already gets one more; :func:`original` takes it away.

    Example:
        >>> neutral("=1+1"), neutral("-3.5"), original(neutral("'=1+1"))
        ("'=1+1", '-3.5', "'=1+1")
    """
    return f"'{cell}" if _QUOTED.match(cell) and not _is_number(cell) else cell


def original(cell: str) -> str:
    """Return the text that :func:`neutral` was given."""
    return cell[1:] if cell.startswith("'") and _QUOTED.match(cell) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
