"""The files of this package: text, JSON and YAML written atomically, and read with bounds and by a schema.

A reader of a written file sees the old one or the new one, never half. What is read has a bounded size and
depth. A file that cannot be read raises ``OSError``, unsuitable content ``ValueError``; each says in a few
words what was found and what was expected, to stand in a sentence that names the file.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any, BinaryIO

import yaml
from pydantic import TypeAdapter, ValidationError

import noise_injection.atomic
from noise_injection.reading import (
    DEEPEST as DEEPEST,
    LARGEST_JSON as LARGEST_JSON,
    LARGEST_TEXT as LARGEST_TEXT,
    TOO_DEEP,
    check_kind as check_kind,
    check_plain,
    parse_json as parse_json,
    read_bytes as read_bytes,
    regular_file as regular_file,
)
from noise_injection.reasons import reason as reason
from robustcmr.errors import RunFolderError, UserError

LARGEST_YAML = 2**20
"""Bytes of a YAML file or value, at most."""

MOST_VALUES = 100_000
"""Keys and values of a YAML file, at most, each alias counted as what it stands for."""

atomic_file = functools.partial(noise_injection.atomic.atomic_file, error=UserError)
"""``noise_injection.atomic.atomic_file``, raising ``UserError`` if the file cannot be written."""


def write_text(path: Path, text: str) -> None:
    r"""Write UTF-8 text atomically; bytes of a file name that are not UTF-8 as escapes (``\udcff``)."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with a final newline atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_with(path: Path, writer: Callable[[BinaryIO], Any]) -> None:
    """Let ``writer`` fill a binary file that appears atomically under ``path``."""
    with atomic_file(path) as file:
        writer(file)


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes ``to``, missing or empty, when the context ends without an error.

    Raises:
        RunFolderError: a file or the folder cannot be written; nothing is left behind.
    """
    part = to.parent / f".{to.name}.part"
    rmtree(part, ignore_errors=True)  # of a call that was killed
    try:
        yield part
        if to.is_dir():
            to.rmdir()
        part.rename(to)
    except OSError as error:
        raise RunFolderError(f"cannot write {to}: {reason(error)}") from error
    finally:
        rmtree(part, ignore_errors=True)


def identity(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a file or folder from another one put in its place; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def read_json(path: Path, schema: Any = Any, largest: int = LARGEST_JSON) -> Any:
    """Read a JSON file of at most ``largest`` bytes whose value fits ``schema``, a type as pydantic reads it.

    Raises:
        OSError: the file is missing, no regular file, too large or not readable.
        ValueError: it is not UTF-8 or JSON, is nested too deeply, or does not fit.
    """
    return fitting(parse_json(read_bytes(path, largest).decode("utf-8")), schema)


def read_json_lines(path: Path, schema: Any) -> list[Any]:
    """Read a file of one JSON value a line; as :func:`read_json`, and the message names the line."""
    rows = []
    for number, line in enumerate(read_bytes(path, LARGEST_JSON).decode("utf-8").splitlines(), 1):
        try:
            rows.append(fitting(parse_json(line), schema))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return rows


def read_yaml(path: Path, schema: Any = Any) -> Any:
    """Read a YAML file; as :func:`read_json`."""
    return fitting(parse_yaml(read_bytes(path, LARGEST_YAML).decode("utf-8")), schema)


class LimitError(ValueError):
    """A document is larger or nested deeper than any that is read."""


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML document of plain values.

    Raises:
        LimitError: it is too large or nested too deeply, aliases included.
        ValueError: it is no YAML, gives a key twice, or holds half characters or numbers beyond 64 bits.
    """
    if len(text) > LARGEST_YAML:
        raise LimitError(f"it has {len(text):,} characters, expected at most {LARGEST_YAML:,}")
    try:
        _check_events(text)
        value = yaml.load(text, Loader=_UniqueKeys)  # a safe loader
    except LimitError:
        raise
    except Exception as error:  # its constructors raise nearly anything for a value that does not fit its tag
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        known = isinstance(error, (yaml.YAMLError, ValueError))
        reason = str(getattr(error, "problem", error)) if known else "a value does not fit its tag"
        if "nesting depth" in reason:  # the parser in C has a limit of its own
            raise LimitError(TOO_DEEP) from error
        raise ValueError(f"{where}{reason.splitlines()[0]}") from error
    check_plain(value)
    return value


def to_yaml(value: Any, ascii_only: bool = False) -> str:
    """Return plain values as YAML, mappings in their own order; ``ascii_only`` escapes other letters."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=not ascii_only)


_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, where PyYAML has it


class _UniqueKeys(_BASE):  # type: ignore[misc]
    """Plain YAML, but a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping of a node."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                problem = f"the key '{key.value}' is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


def _check_events(text: str) -> None:
    """Refuse nesting below :data:`DEEPEST` levels and more than :data:`MOST_VALUES` values.

    The parser's events are counted, which needs no recursion and no memory: an alias takes one event, but
    stands for all that its anchor holds.
    """
    sizes: dict[str, tuple[int, int]] = {}  # values and levels that an alias stands for
    opened: list[tuple[str | None, int, int]] = []  # anchor, values before it, and deepest level in it
    values = 0
    for event in yaml.parse(text, Loader=_BASE):
        levels = 0
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                if any(anchor == event.anchor for anchor, _, _ in opened):
                    raise LimitError(f"the alias *{event.anchor} stands inside what it stands for")
                continue  # unknown, as the loader reports
            added, levels = sizes[event.anchor]
            values += added
        elif isinstance(event, yaml.CollectionStartEvent):
            values += 1
            opened.append((event.anchor, values - 1, 0))
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1, 0
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before, deepest = opened.pop()
            levels = deepest + 1
            if anchor is not None:
                sizes[anchor] = values - before, levels
        else:
            continue
        if opened:
            anchor, before, deepest = opened[-1]
            opened[-1] = anchor, before, max(deepest, levels)
        if len(opened) + levels > DEEPEST:
            raise LimitError(TOO_DEEP)
        if values > MOST_VALUES:
            raise LimitError(f"it holds more than {MOST_VALUES:,} values, aliases included")


@functools.cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


def fitting(value: Any, schema: Any) -> Any:
    """Return ``value`` unchanged if it fits ``schema``; raise ValueError with the first misfit."""
    if schema is Any:
        return value
    try:
        _adapter(schema).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        if first["type"] == "missing":
            raise ValueError(f"{where} is missing") from error
        if first["type"] == "value_error":  # a validator's own words
            reason = str(first["ctx"]["error"])
        else:
            reason = first["msg"].replace("Input should be", "expected")
            reason = reason.replace("a valid dictionary", "a mapping of names to values")
        given = "" if first["type"] == "value_error" else f", got {ascii(first['input'])[:60]}"
        raise ValueError(f"{f'{where}: ' if where else ''}{reason}{given}") from error
    return value
