from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from robustcmr.config.resolve import resolve
from robustcmr.jobs.train import train

VOID = {"br", "hr", "img", "input", "link", "meta"}


@dataclass
class Page(HTMLParser):
    """A page taken apart: elements, texts, and tables by caption."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    tables: dict[str, list[list[Any]]] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._rows: list[list[Any]] = []
        self._caption = ""
        self._value: float | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        elif tag == "data" and "td" in self.open:
            self._value = float(dict(attributes)["value"] or "nan")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag
        if tag == "data" and "td" in self.open and self._value is not None:
            self._rows[-1][-1] = self._value
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        self.parts.append(data)
        if "caption" in self.open:
            self._caption += data
        elif ("td" in self.open or "th" in self.open) and isinstance(self._rows[-1][-1], str):
            self._rows[-1][-1] += data

    @property
    def text(self) -> str:
        """All text."""
        return "".join(self.parts)

    def table(self, start: str) -> dict[str, Any]:
        """By the name of the row: its only cell, or its cells by column."""
        (rows,) = [rows for caption, rows in self.tables.items() if caption.startswith(start)]
        head, *body = rows
        if len(head) == 2:
            return {row[0]: row[1] for row in rows}
        return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in body}


@pytest.fixture(scope="session")
def parse() -> Callable[[str], Page]:
    """Take a page apart; tags that do not close as they opened are an error."""

    def parsed(text: str) -> Page:
        page = Page()
        page.feed(text)
        assert page.open == []
        return page

    return parsed


SCENES = {"name": "scenes", "n_train": 24, "n_dev": 8, "n_test": 10}
METHOD = {
    "name": "l2rm",
    "warmup_epochs": 1,
    "mixture": "gaussian",
    "mass": 0.5,
    "epsilon": 0.1,
}
TREE = {
    "data": SCENES,
    "matcher": {"name": "omit", "dim": 16, "word_dim": 8, "region_hidden": 8},
    "method": METHOD,
    "noise": {"ratio": 0.4},
    "training": {"epochs": 3, "batch_size": 24, "device": "cpu"},
    "optim": {"lr": 0.003},
}


@pytest.fixture(scope="session")
def tree() -> dict[str, Any]:
    """The configuration of :func:`scenes_run`."""
    return TREE


@pytest.fixture(scope="session")
def scenes_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on few scenes that divides and rematches; not to be changed."""
    return train(resolve(TREE), tmp_path_factory.mktemp("runs") / "pairs <a> & b").path


@pytest.fixture(scope="session")
def labels_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on few labelled scenes that corrects labels; not to be changed."""
    tree = {
        "data": {"name": "scenes-labels", "n_train": 54, "n_dev": 18, "n_test": 18, "text_width": 8},
        "matcher": {"name": "two_tower"},
        "method": {"name": "uot_rcl", "warmup_epochs": 1},
        "noise": {"ratio": 0.4},
        "training": {"epochs": 3, "batch_size": 18, "device": "cpu"},
    }
    return train(resolve(tree), tmp_path_factory.mktemp("runs") / "labels").path
