"""Names in messages: suggestions for a wrong one, lists of those there are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from robustcmr.errors import some_of


def meant(given: str, known: Sequence[str]) -> str:
    """Return a question such as ``; did you mean 'caption'?``, or an empty text if no name is similar.

    Example:
        >>> meant("Captoin", ["url", "caption"])
        "; did you mean 'caption'?"
    """
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.lower(), list(by_lower), n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""


def listed(names: Sequence[str]) -> str:
    """Return the first few names for a message, in quotation marks where that tells them apart."""
    return some_of([name if name.isidentifier() else repr(name) for name in names], 12) or "none"
