"""Types of the values of JSON objects, and Arrow columns made of them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import reduce
from typing import Any

import pyarrow as pa

TYPES = {
    "null": pa.string(),
    "true or false": pa.bool_(),
    "a whole number": pa.int64(),
    "a number": pa.float64(),
    "text": pa.string(),
    "a list of text": pa.list_(pa.string()),
    "any": pa.string(),
}
"""Column of each kind of values; ``any`` as JSON."""


def kind_of(value: Any) -> str:
    """Return the kind of a value, a key of :data:`TYPES`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "a whole number" if -(2**63) <= value < 2**63 else "text"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list) and all(isinstance(item, str) or item is None for item in value):
        return "a list of text"
    return "any"


def joined(first: str, second: str) -> str:
    """Return the kind that holds values of two kinds.

    Example:
        >>> joined("a whole number", "a number"), joined("text", "a list of text"), joined("text", "a number")
        ('a number', 'a list of text', 'text')
    """
    kinds = {first, second} - {"null"}
    if len(kinds) < 2:
        return next(iter(kinds), "null")
    if kinds == {"a whole number", "a number"}:
        return "a number"
    if kinds == {"text", "a list of text"}:
        return "a list of text"
    if kinds <= {"text", "a number", "a whole number", "true or false"}:
        return "text"
    return "any"


Counts = dict[str, Counter[str]]
"""How often each kind occurs in each column."""

RARE = 0.05
"""Share of values below which a kind that does not go with the others is taken for a mistake."""


def count_kinds(counts: Counts, row: Mapping[str, Any]) -> None:
    """Count the kinds of a row's values, in place."""
    for name, value in row.items():
        counts.setdefault(name, Counter())[kind_of(value)] += 1


def usual_kinds(counts: Counts) -> dict[str, str]:
    """Return the kind of each column, by which rare values of a nested or unlike kind do not fit.

    Example:
        >>> usual_kinds({"n": Counter({"a whole number": 99, "text": 1})})
        {'n': 'a whole number'}
    """
    return {name: _usual(kinds) for name, kinds in counts.items()}


def _usual(kinds: Counter[str]) -> str:
    least = RARE * kinds.total()
    base = reduce(joined, (kind for kind, count in kinds.items() if count >= least), "null")
    for kind in sorted(kinds):
        if (both := joined(base, kind)) in ("a number", "a list of text") or base == "null":
            base = both
    return base


def all_kinds(counts: Counts) -> dict[str, str]:
    """Return the kind of each column that holds all its values."""
    return {name: reduce(joined, kinds, "null") for name, kinds in counts.items()}


def fitted(value: Any, kind: str) -> Any:
    """Return a value as one of a column of a kind.

    Raises:
        ValueError: it does not fit; the message says what was found and expected.
    """
    if value is None or (isinstance(value, float) and math.isnan(value) and kind != "a number"):
        return None
    if kind == "any":
        return json.dumps(value, ensure_ascii=False)
    found = kind_of(value)
    if joined(found, kind) != kind:
        raise ValueError(f"{'a nested value' if found == 'any' else found}, expected {kind}")
    if kind in ("text", "null"):
        return value if isinstance(value, str) else json.dumps(value)
    if kind == "a list of text":
        return [value] if isinstance(value, str) else value
    return float(value) if kind == "a number" else value


def column(rows: Sequence[Mapping[str, Any]], name: str, kind: str, problems: list[str | None]) -> pa.Array:
    """Return a column of rows; problems of those whose value does not fit are added in place."""
    if kind == "text":
        with suppress(pa.ArrowTypeError):  # a value is no text
            return pa.array([row.get(name) for row in rows], pa.string())
    values = []
    for number, row in enumerate(rows):
        try:
            values.append(fitted(row.get(name), kind))
        except ValueError as error:
            values.append(None)
            problems[number] = problems[number] or f"{name} is {error}"
    return pa.array(values, TYPES[kind])
