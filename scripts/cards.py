"""The cards of methods and matchers in docs/cards: what follows from a class stands between two comments.

Above the comments stands what a person writes: idea, formula, when to use.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from functools import cache
from pathlib import Path

import methods_page
from leaderboard_page import DOCS
from pydantic import BaseModel
from reference_pages import default_of, markdown_table, own_fields, own_names
from run_table import RESULTS, read_rows

from robustcmr import plugins
from robustcmr.matchers.fragment_matcher import FragmentOptions
from robustcmr.options import Options

FOLDER = DOCS / "cards"
BEGIN, END = "<!-- written by python scripts/pages.py -->", "<!-- end -->"
OTHER_COMMANDS = {
    "clip": "robustcmr train --data images --data-root DIR --set matcher.weights=DIR/clip-vit-base-patch32",
    "two_tower": "robustcmr train --data scenes-labels --matcher two_tower --noise 0.6",
}
SECTIONS = {
    "Methods for mismatched pairs": "pairs",
    "Methods for wrong labels": "labels",
    "Matchers": "matcher",
}


def pages() -> dict[Path, str]:
    """Return the cards and their index by path, each with its generated part as it should be.

    Raises:
        ValueError: a card has no place for the generated part, or there is a card of nothing.
    """
    names = {title: _names(kind) for title, kind in SECTIONS.items()}
    parts = {"index": index(names)}
    for title, kind in SECTIONS.items():
        parts |= {name: matcher(name) if kind == "matcher" else method(name) for name in names[title]}
    strangers = sorted({path.stem for path in FOLDER.glob("*.md")} - set(parts))
    if strangers:
        raise ValueError(
            f"docs/cards has {', '.join(strangers)}, which names no method or matcher; remove it"
        )
    return {FOLDER / f"{name}.md": filled(FOLDER / f"{name}.md", part) for name, part in parts.items()}


def filled(path: Path, part: str) -> str:
    """Return the text of a page with ``part`` between its comments."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"{END}\n")
    if not (begin and end):
        raise ValueError(f"{path} has no lines {BEGIN} and {END}; write the page with them first")
    return f"{before}{begin}\n{part.strip()}\n\n{end}{after}"


def _names(kind: str) -> list[str]:
    return own_names(plugins.matchers) if kind == "matcher" else methods_page.methods(kind)


def index(names: dict[str, list[str]]) -> str:
    """The generated part of the index: all cards."""
    parts = []
    for title, each in names.items():
        parts += [f"## {title}\n", "```{toctree}", ":maxdepth: 1\n", *each, "```\n"]
    return "\n".join(parts)


def method(name: str) -> str:
    """The generated part of a method's card."""
    cls = plugins.methods.load(name)
    _, networks, estimates = methods_page.described(name)
    released = methods_page.references(name)[1]
    data = "" if cls.track == "pairs" else "--data scenes-labels "  # type: ignore[attr-defined]
    rate = "0.4" if cls.track == "pairs" else "0.6"  # type: ignore[attr-defined]
    facts = {
        "networks": networks,
        "estimates": estimates,
        "cost of a step, VSE∞ / OMIT": methods_page.costs_by_method().get(name, "not measured"),
        "`method.released`": released,
    }
    return _card(cls, facts, f"robustcmr train {data}--method {name} --noise {rate}")


def matcher(name: str) -> str:
    """The generated part of a matcher's card."""
    row = _measured().get(name)
    facts = {
        "parameters": f"{int(row['parameters']):,}" if row else "not measured",
        "seconds an epoch": f"{float(row['epoch_seconds']):.1f}" if row else "not measured",
        "pairs scored a second": f"{float(row['pairs_a_second']):,.0f}" if row else "not measured",
    }
    command = OTHER_COMMANDS.get(name, f"robustcmr train --matcher {name} --noise 0.4")
    return _card(plugins.matchers.load(name), facts, command)


@cache
def _measured() -> dict[str, dict[str, str]]:
    return {row["matcher"]: row for row in read_rows(RESULTS / "matchers_scenes.csv")}


def _card(cls: type, facts: dict[str, str], command: str) -> str:
    paper, body = methods_page.paper(cls), details(cls)
    parts = [markdown_table([list(facts), list(facts.values())])]
    parts += [f"Paper: {paper}\n"] if paper else []
    parts += [f"Train: `{command}`\n"]
    parts += ["## Details and departures\n", f"{body}\n"] if body else []
    return "\n".join([*parts, "## Options\n", options(cls.Config)])  # type: ignore[attr-defined]


def options(config: type[BaseModel]) -> str:
    """Return the table of a part's own options; those of encoders are on the page of the configuration."""
    shared = FragmentOptions if issubclass(config, FragmentOptions) else Options
    own = own_fields(config, shared)
    lines = [[f"`{key}`", default_of(info), info.description or ""] for key, info in own.items()]
    parts = [markdown_table([["option", "default", "meaning"], *lines])] if lines else []
    if shared is FragmentOptions:
        parts.append(
            f"{'And those' if lines else 'Those'} of its [encoders](/reference/configuration.md#encoders).\n"
        )
    return "\n".join(parts)


def details(cls: type) -> str:
    """Return a class's docstring as Markdown, without its first paragraph, errors and references."""
    text = re.split(
        r"^(?:Args|Raises|References|Attributes):\n", inspect.cleandoc(cls.__doc__ or ""), flags=re.M
    )[0]
    paragraphs = text.strip().split("\n\n")[1:]
    return "\n\n".join(
        f"```text\n{textwrap.dedent(each)}\n```" if each.startswith("    ") else methods_page.plain(each)
        for each in paragraphs
    )
