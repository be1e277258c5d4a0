"""Names of reviewers."""

from __future__ import annotations

from robustcmr.audit.labels import LONGEST_NAME
from robustcmr.errors import UserError


def reviewer_name(name: str) -> str:
    """Return a reviewer's name without spaces around it.

    Raises:
        UserError: it is empty, too long, or holds what cannot be seen.

    Example:
        >>> reviewer_name(" Ada ")
        'Ada'
    """
    found = name.strip()
    if not found or len(found) > LONGEST_NAME or not found.isprintable():
        shown = f"{len(found)} letters" if len(found) > LONGEST_NAME else ascii(found)
        raise UserError(f"the reviewer's name is {shown}; expected 1 to {LONGEST_NAME} letters, such as Ada")
    return found
