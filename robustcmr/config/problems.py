"""Problems of a configuration as sentences: the full key, the value given, the value expected."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from noise_injection.checks import percent_meant
from robustcmr.config.fields import (
    choices,
    example,
    expectation,
    field_rows,
    is_share,
    one_of,
    part_of,
    section_class,
)
from robustcmr.plugins import did_you_mean

Places = Sequence[tuple[type[BaseModel], str]]
"""Options classes with what is put before their keys."""


def sentences(
    model: type[BaseModel],
    error: ValidationError,
    prefix: str,
    extra_keys: Sequence[str],
    others: Places = (),
) -> list[str]:
    """Return one sentence for each problem that an options class found.

    Args:
        model: the options class.
        error: what it raised.
        prefix: put before every key, such as ``matcher.``.
        extra_keys: keys allowed besides its fields.
        others: all classes among whose keys an unknown one is searched.
    """
    found = [_sentence(model, item, prefix, extra_keys, others) for item in error.errors()]
    return list(dict.fromkeys(found))  # each part of a union reports by itself


def listing(problems: Sequence[str]) -> str:
    """All problems as one message; a single one stands alone."""
    if len(problems) == 1:
        return problems[0]
    return "\n  ".join([f"{len(problems)} problems in the configuration:", *problems])


def _sentence(
    model: type[BaseModel], item: Any, prefix: str, extra_keys: Sequence[str], others: Places
) -> str:
    location = [str(part) for part in item["loc"]]
    if item["type"] in ("extra_forbidden", "invalid_key"):  # a key that is no text is never known
        return _unknown_key(model, location, prefix, extra_keys, others)
    info, depth = _field(model, location)
    path = (prefix + ".".join(location[:depth])).rstrip(".")
    too_short = item["type"] == "missing" and depth < len(location)  # a list that lacks elements
    if item["type"] == "missing" and not too_short:
        value = "TEXT" if info is None else example(info)
        flag = f" or --data-root {value}" if path == "data.root" else ""
        return f"{path}: missing, set it with --set {path}={value}{flag}"
    if item["type"] == "value_error":  # a validator's own sentence
        return f"{path}: {item['ctx']['error']}"
    within = any(isinstance(part, int) for part in item["loc"][depth:])  # an element, not a part of a union
    given = f"got {item['input']!r}" + (" in it" if within and not too_short else "")
    expected = None if info is None else expectation(info)
    if info is None or expected is None:
        return f"{path}: {given}, {item['msg'][0].lower()}{item['msg'][1:]}"
    near = did_you_mean(item["input"], choices(info.annotation)) if isinstance(item["input"], str) else ""
    if is_share(info) and not isinstance(item["input"], bool):
        near = percent_meant(item["input"])
    return f"{path}: {given}, expected {expected}{near}"


def _unknown_key(
    model: type[BaseModel], location: list[str], prefix: str, extra_keys: Sequence[str], others: Places
) -> str:
    key = location[-1]
    info, _ = _field(model, location[:-1])
    section = model if info is None else (section_class(info.annotation) or model)
    known = [*section.model_fields, *(extra_keys if len(location) == 1 else ())]
    parent = prefix + "".join(f"{part}." for part in location[:-1])
    hint = did_you_mean(key, known).replace("'", f"'{parent}", 1) or _elsewhere(key, others, not parent)
    return f"{parent}{key}: unknown key" + (hint or f" (known: {', '.join(sorted(known))})")


def _elsewhere(key: str, others: Places, similar: bool) -> str:
    """A question for the keys of other sections with this last part, or one like it if ``similar``."""
    by_last: dict[str, list[str]] = {}
    for model, prefix in others:
        for row in field_rows(model, prefix):
            by_last.setdefault(row[0].rpartition(".")[2], []).append(row[0])
    by_last.pop("name", None)  # many have one
    near = [key] if key in by_last else []
    if similar and not near:
        near = difflib.get_close_matches(key, by_last, n=1, cutoff=0.6)
    found = [f"'{full}'" for last in near for full in by_last[last]]
    return f"; did you mean {one_of(found[:3])}?" if found else ""


def _field(model: type[BaseModel], location: Sequence[str]) -> tuple[FieldInfo | None, int]:
    """The innermost field on the path to a place, and the length of the path to it.

    Sections of options inside a mapping or a list count as fields, and so do their own fields.
    """
    info: FieldInfo | None = None
    annotation: Any = model
    found = 0
    for depth, part in enumerate(location, start=1):
        section = section_class(annotation)
        if section is None:
            annotation = part_of(annotation)
            if section_class(annotation) is None:
                break
            info = FieldInfo.from_annotation(annotation)
        elif part in section.model_fields:
            info = section.model_fields[part]
            annotation = info.annotation
        else:
            break
        found = depth
    return info, found
