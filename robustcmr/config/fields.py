"""Options in words: the type of each field, for help pages and for messages about bad values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

WORDS = {
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    Path: ("a path", "paths"),
}
"""Names of the simple types, singular and plural."""


def section_class(annotation: Any) -> type[BaseModel] | None:
    """Return the options class of a field that is a section of its own; None for any other field."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def part_of(annotation: Any) -> Any:
    """Return the element type of a mapping or list, such as ``int`` for ``list[int] | None``; else None."""
    for kind in _parts(annotation):
        if get_origin(kind) is dict:
            return get_args(kind)[1]
        if get_origin(kind) is list or (get_origin(kind) is tuple and get_args(kind)[1:] == (Ellipsis,)):
            return get_args(kind)[0]
    return None


def field_rows(options: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Return (key, type, default, description) of every field, for help pages.

    Args:
        options: the options class; its sections are followed, also those in a mapping or list.
        prefix: put before every key, such as ``matcher.``.
    """
    rows: list[tuple[str, str, str, str]] = []
    for name, info in options.model_fields.items():
        section = section_class(info.annotation)
        if section is not None:
            rows.extend(field_rows(section, f"{prefix}{name}."))
            continue
        value = "required" if info.is_required() else yaml_scalar(info.get_default(call_default_factory=True))
        rows.append((prefix + name, type_name(info.annotation), value, info.description or ""))
        inner = section_class(part_of(info.annotation))
        if inner is not None:
            place = "NAME" if any(get_origin(kind) is dict for kind in _parts(info.annotation)) else "NUMBER"
            rows.extend(field_rows(inner, f"{prefix}{name}.{place}."))
    return rows


def yaml_scalar(value: Any) -> str:
    """Return a value as it would be written in a recipe."""
    plain = to_jsonable_python(value, fallback=str)
    return yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True).replace("\n...", "").strip()


def type_name(annotation: Any) -> str:
    """Return the name of a type on help pages, such as ``float | null`` or ``caption | image``."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin in (Union, UnionType):
        return " | ".join(map(type_name, parts))
    if annotation in (None, NoneType):
        return "null"
    if annotation is Ellipsis:
        return "..."
    if origin is Annotated:
        return type_name(parts[0])
    if section_class(annotation) is not None:
        return "section"
    if isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(map(type_name, parts))}]"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def expectation(info: FieldInfo) -> str | None:
    """Return the values a field accepts, such as ``a number in [0, 1)``; None if that has no short name."""
    if section_class(info.annotation) is not None:
        return "a section of options"
    kinds = [_kind(part, info.metadata) for part in _parts(info.annotation)]
    return None if None in kinds else " or ".join(kind for kind in kinds if kind is not None)


def is_share(info: FieldInfo) -> bool:
    """Return whether a field holds a number of at least 0 and at most, or below, 1."""
    low, high = (
        {getattr(limit, end, None) for limit in info.metadata for end in ends}
        for ends in (("ge", "gt"), ("le", "lt"))
    )
    return simple_type(info.annotation) is float and 0 in low and 1 in high


def example(info: FieldInfo) -> str:
    """Return a value that a field accepts, as it is written on the command line."""
    if info.examples:
        return str(info.examples[0])
    listed, kind = choices(info.annotation), simple_type(info.annotation)
    if listed:
        return listed[0]
    if kind is float:
        return "0.5"
    if kind is int:
        lows = [limit.ge for limit in info.metadata if getattr(limit, "ge", None) is not None]
        return str(max([1, *lows]))
    return "/path/to/it" if kind is Path else "TEXT"


def choices(annotation: Any) -> list[str]:
    """Return the texts that a field can be chosen from; empty where it is no choice."""
    literals = (part for part in _parts(annotation) if get_origin(part) is Literal)
    return [choice for part in literals for choice in get_args(part) if isinstance(choice, str)]


def simple_type(annotation: Any) -> type:
    """Return the first of ``int``, ``float`` and ``Path`` in a field's type, else ``str``."""
    return next((part for part in _parts(annotation) if part in (int, float, Path)), str)


def one_of(values: Sequence[Any]) -> str:
    """Return values as words, such as ``a, b or c``."""
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _kind(annotation: Any, limits: Sequence[Any]) -> str | None:
    if annotation is NoneType:
        return "null"
    if get_origin(annotation) is Literal:
        return one_of(get_args(annotation))
    if get_origin(annotation) in (tuple, list):
        parts = get_args(annotation)
        count = "" if get_origin(annotation) is list or Ellipsis in parts else f"{len(parts)} "
        elements = {part for part in parts if part is not Ellipsis}
        several = WORDS.get(elements.pop()) if len(elements) == 1 else None
        return None if several is None else f"a list of {count}{several[1]}"
    words = WORDS.get(annotation)
    if words is None:
        return None
    return words[0] + (_range(limits) if annotation in (int, float) else "")


def _range(limits: Sequence[Any]) -> str:
    """`` in [0, 1)``, `` of at least 1``, `` above 0`` and the like, or an empty text."""
    found = {
        name: f"{getattr(limit, name):.15g}"
        for limit in limits
        for name in ("ge", "gt", "le", "lt")
        if getattr(limit, name, None) is not None
    }
    low, high = found.get("ge", found.get("gt")), found.get("le", found.get("lt"))
    if low is not None and high is not None:
        return f" in {'[' if 'ge' in found else '('}{low}, {high}{']' if 'le' in found else ')'}"
    if low is not None:
        return f" of at least {low}" if "ge" in found else f" above {low}"
    if high is not None:
        return f" of at most {high}" if "le" in found else f" below {high}"
    return ""
