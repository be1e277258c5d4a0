"""Markup from Python values: tags, escaped text, and numbers that keep their exact value."""

from __future__ import annotations

import html
import math
from typing import Any

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Html(str):
    """Markup, put into a page as it is; any other text is escaped first."""

    __slots__ = ()


Child = str | float | None
"""What a tag may hold: markup, text or a number; None is left out."""


def escape(text: object) -> Html:
    """Text as markup that shows it: what a browser would obey, and control characters, are made harmless.

    Args:
        text: anything; :class:`Html` is returned as it is.
    """
    if isinstance(text, Html):
        return text
    plain = str(text)
    if not plain.isprintable():
        plain = "".join(
            letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}"
            for letter in plain
        )
    return Html(html.escape(plain, quote=True))


def tag(name: str, /, *children: Child, **attributes: Any) -> Html:
    """An element.

    Args:
        name: of the element, such as ``p``.
        children: what it holds.
        attributes: by name; a final underscore is dropped and others become hyphens. True stands alone, None
            and False are left out.

    Returns:
        Its markup.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: Child) -> Html:
    """Several pieces of markup or text after each other."""
    return Html("".join(escape(child) for child in children if child is not None))


def _attribute(key: str, value: Any) -> str:
    name = key.removesuffix("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = place(value) if isinstance(value, float) else value
    return f' {name}="{escape(text)}"'


def place(value: float) -> str:
    """A place in a drawing, to a hundredth of its unit."""
    return f"{value:.2f}".rstrip("0").rstrip(".").replace("-0", "0" if abs(value) < 0.005 else "-0")


def shown(value: Any, digits: int = 4) -> Html:
    """A number rounded for the eye, with its exact value in the markup; other values as text.

    Args:
        value: a number, True or False, text, or None for nothing.
        digits: significant digits to show; whole numbers are shown whole.
    """
    if value is None:
        return tag("span", "–", class_="none", title="not known")
    if isinstance(value, bool):
        return escape("yes" if value else "no")
    if not isinstance(value, int | float):
        return escape(value)
    return tag("data", rounded(value, digits), value=repr(value))


def rounded(value: float, digits: int = 4) -> str:
    """A number for the eye: thousands grouped, and so many significant digits of what is not whole."""
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        decimals = max(0, digits - 1 - (math.floor(math.log10(abs(value))) if value else 0))
        return f"{value:,.{decimals}f}"
    return f"{value:.{digits - 1}e}"


def one_decimal(value: float) -> Html:
    """A percentage as the field prints it, to one decimal, with its exact value in the markup."""
    return tag("data", f"{value:.1f}", value=repr(value))
