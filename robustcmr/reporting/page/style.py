"""How a page looks: one style sheet for light and dark, wide and narrow, screen and paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

SERIES = 6
"""Different lines a chart can show."""

LIGHT: Mapping[str, str] = MappingProxyType(
    {
        "page": "#f5f6f8",
        "card": "#ffffff",
        "ink": "#1b2129",
        "muted": "#4d5866",
        "line": "#d5dae1",
        "axis": "#6b7684",
        "link": "#0b4f8a",
        "accent": "#0b4f8a",
        "good": "#0a6640",
        "bad": "#9a3412",
        "c0": "#0b5fa5",
        "c1": "#b4460b",
        "c2": "#0a7a5c",
        "c3": "#8a3f86",
        "c4": "#7a5c00",
        "c5": "#4d5866",
        "bar0": "#a9cdec",
        "bar1": "#f0b78c",
    }
)
"""Colours by name where the page is light."""

DARK: Mapping[str, str] = MappingProxyType(
    {
        "page": "#11151a",
        "card": "#1a2027",
        "ink": "#e8ecf1",
        "muted": "#aab4c0",
        "line": "#323b46",
        "axis": "#8692a0",
        "link": "#8cc4ff",
        "accent": "#8cc4ff",
        "good": "#6fdba8",
        "bad": "#ffb38a",
        "c0": "#6db6f5",
        "c1": "#ff9d5c",
        "c2": "#4fd0a5",
        "c3": "#e29ade",
        "c4": "#e3c04b",
        "c5": "#aab4c0",
        "bar0": "#2f5f8a",
        "bar1": "#8a4a1f",
    }
)
"""The same where it is dark."""


def style_sheet() -> str:
    """The style sheet of every page; the theme follows the system unless one is chosen on the page."""
    rules = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    light, dark = _tokens(LIGHT, "light"), _tokens(DARK, "dark")
    return (
        f":root{{{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not(:has(#theme-light:checked)){{{dark}}}}}\n"
        f":root:has(#theme-dark:checked){{{dark}}}\n"
        f"@media print{{:root{{{light}}}}}\n{rules}"
    )


def _tokens(colours: Mapping[str, str], scheme: str) -> str:
    return f"color-scheme:{scheme};" + "".join(f"--{name}:{value};" for name, value in colours.items())
