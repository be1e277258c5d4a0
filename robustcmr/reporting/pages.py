"""Render pages from ``templates/``: one offline file each, in light and dark."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from noise_injection.printing import visible
from robustcmr.reporting.charts import Chart, Table
from robustcmr.reporting.numbers import as_text


@dataclass(frozen=True)
class Section:
    """A part of a page: text, then what its kind shows, then tables and charts.

    Attributes:
        key: its anchor, letters and hyphens.
        title: its heading.
        text: paragraphs.
        kind: what the template shows besides, such as ``suspects``; "" for nothing.
        content: what that part of the template reads.
        tables: numbers, side by side where there is room.
        charts: None is left out.
        folded: whether it is closed until a reader opens it.
    """

    key: str
    title: str
    text: Sequence[str] = ()
    kind: str = ""
    content: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    charts: Sequence[Chart | None] = ()
    folded: bool = False


def render(template: str, title: str, lead: str, sections: Sequence[Section], foot: str) -> str:
    """Render a template with a heading, a lead, sections and a last line to HTML that loads nothing."""
    found = environment().get_template(template)
    return found.render(title=title, lead=lead, sections=sections, foot=foot) + "\n"


@functools.cache
def environment() -> Environment:
    """The templates, which escape whatever they are given."""
    made = Environment(
        loader=PackageLoader("robustcmr.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    made.filters["value"] = value
    return made


def value(number: Any, form: str = "number") -> Markup | str:
    """A number for the eye, with its exact value in the markup; other values as text."""
    if number is None:
        return Markup('<span class="none" title="not known">–</span>')
    if isinstance(number, bool) or not isinstance(number, int | float):
        return as_text(number)
    return Markup('<data value="{}">{}</data>').format(repr(number), as_text(number, form))


def _visible(text: Any) -> Any:
    return visible(text) if isinstance(text, str) and not isinstance(text, Markup) else text
