"""The page on troubles quotes messages as the code has them."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = [" ".join(text.split()) for text in re.findall(r"^```text\n(.*?)^```$", PAGE, re.M | re.S)]


@cache
def said() -> tuple[str, ...]:
    """Every text of the packages, with … for what an f-string fills in."""
    found = []
    for path in (*ROOT.glob("robustcmr/**/*.py"), *ROOT.glob("noise_injection/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_one_of_the_code(message: str) -> None:
    assert any(message in text for text in said())


def test_there_are_messages_and_a_changed_one_is_noticed() -> None:
    assert len(MESSAGES) > 25
    assert not any(MESSAGES[0].replace("needs", "wants") in text for text in said())
