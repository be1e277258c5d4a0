"""Docstrings of classes as text for a terminal, and their first lines without importing the class."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import robustcmr

_ROLE = re.compile(r":[a-z:]+:`~?([^`]+)`")
_FOR_CALLERS = {"Args:", "Attributes:", "Example:", "Raises:", "Returns:"}
"""Sections about a class in Python, which do not help to choose it by name."""


def prose(docstring: str, width: int) -> str:
    """Return a docstring without its markup, its paragraphs as wide as ``width`` columns.

    Lists, indented sections and blocks after ``::`` keep their shape; sections for callers are left out.
    """
    done: list[str] = []
    words: list[str] = []
    first = rest = ""  # indents of the paragraph
    literal: int | None = None
    skipped: int | None = None

    def flush() -> None:
        if words:
            done.extend(
                textwrap.wrap(
                    " ".join(words),
                    max(width, 20),
                    initial_indent=first,
                    subsequent_indent=rest,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
            words.clear()

    for line in docstring.splitlines():
        text = _ROLE.sub(r"\1", line.strip()).replace("`", "")
        indent = len(line) - len(line.lstrip())
        if not text:
            flush()
            if done and done[-1]:
                done.append("")
            continue
        if skipped is not None and indent > skipped:
            continue
        skipped = None
        if literal is not None and indent > literal:
            done.append(line.rstrip())
            continue
        literal = None
        if text in _FOR_CALLERS:
            flush()
            skipped = indent
            continue
        bullet = text.startswith("- ")
        if bullet or indent != len(rest) or text == "References:":
            flush()
        if not words:
            first, rest = " " * indent, " " * (indent + 2 * bullet)
        if text.endswith("::"):
            literal, text = indent, text[:-1]
        words.append(text)
        if literal is not None or text == "References:":
            flush()
    flush()
    return "\n".join(done).strip("\n")


def summary_in_source(place: str) -> str | None:
    """Return the first line about one of our own classes, read from its source file.

    Args:
        place: ``package.module:Class``.

    Returns:
        The line, or None if the class is not ours or its source does not say.
    """
    module, _, name = place.partition(":")
    package, *parts = module.split(".")
    if package != robustcmr.__name__ or not parts:
        return None
    path = Path(robustcmr.__file__).parent.joinpath(*parts).with_suffix(".py")
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError):
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            text = ast.get_docstring(node)
            return None if text is None else text.split("\n")[0]
    return None
