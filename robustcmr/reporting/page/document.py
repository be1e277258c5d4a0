"""A whole page from its sections: head, theme switch, table of contents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustcmr.reporting.page.html import Html, escape, joined, tag
from robustcmr.reporting.page.style import style_sheet

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_THEMES = (("system", "as the system"), ("light", "light"), ("dark", "dark"))


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        key: its anchor, letters and hyphens.
        title: its heading.
        body: what it holds.
    """

    key: str
    title: str
    body: Html


def document(title: str, lead: str, sections: Sequence[Section], foot: str) -> str:
    """A self-contained page; a content policy forbids scripts and any request to outside.

    Args:
        title: heading and name of the page.
        lead: a sentence below the heading.
        sections: its parts, in order.
        foot: the last line.

    Returns:
        HTML text with a final newline.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        Html(f"<style>{style_sheet()}</style>"),
    )
    body = tag(
        "body",
        tag("a", "Skip to the contents", class_="skip", href="#main"),
        tag("header", tag("h1", title), tag("p", lead, class_="lead"), _themes(), class_="top"),
        tag("main", _contents(sections), *(_section(section) for section in sections), id="main"),
        tag("footer", foot),
    )
    return f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'


def sentence(text: str) -> Html:
    """A paragraph that says why something is not shown."""
    return tag("p", text, class_="muted")


def _section(section: Section) -> Html:
    heading = f"{section.key}-title"
    return tag(
        "section",
        tag("h2", section.title, id=heading),
        section.body,
        id=section.key,
        aria_labelledby=heading,
    )


def _contents(sections: Sequence[Section]) -> Html:
    links = [tag("li", tag("a", section.title, href=f"#{section.key}")) for section in sections]
    return tag("nav", tag("ul", *links), class_="contents", aria_label="Contents")


def _themes() -> Html:
    choices = [
        tag(
            "label",
            tag("input", type="radio", name="theme", id=f"theme-{key}", checked=key == "system"),
            escape(name),
        )
        for key, name in _THEMES
    ]
    return tag("fieldset", tag("legend", "Theme"), joined(*choices), class_="theme")
