"""Files of one JSON object a line; kept lines are written back byte for byte."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from robustcmr.errors import DataError
from robustcmr.files import DEEPEST, parse_json
from robustcmr.sources.columns import choose
from robustcmr.sources.json_kinds import TYPES, Counts, all_kinds, column, count_kinds, usual_kinds
from robustcmr.sources.lines import LineTable, lines_of, mark_of, parts_of, sample
from robustcmr.sources.records import PROBLEM, Columns, Shard
from robustcmr.sources.shards import check_columns, files_below, make_shards, root_of
from robustcmr.sources.tables import make_batch

_PLAIN = (".jsonl", ".ndjson", ".jsonlines", ".json")
SUFFIXES = (*_PLAIN, *(f"{suffix}.gz" for suffix in _PLAIN))


SAMPLED_FILES = 16
"""Files, spread over those of a source, whose first lines tell its columns, at least."""


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether all paths are named as JSON files, or are folders of them."""
    return all(
        bool(files_below([path], SUFFIXES)) if path.is_dir() else path.name.lower().endswith(SUFFIXES)
        for path in paths
    )


def open(paths: Sequence[Path], columns: Columns) -> JsonLines:
    """Open files of JSON lines, or all below folders, as one source.

    Raises:
        DataError: there is none, one cannot be read or has other columns, or a named column is missing.
    """
    files = files_below(paths, SUFFIXES)
    if not files:
        raise DataError(f"{paths[0]} has no files of JSON lines; expected names that end in .jsonl")
    counts: Counts = {}
    for file in files[:: max(1, len(files) // SAMPLED_FILES)]:
        found: Counts = {}
        for row in _sampled(file):
            count_kinds(found, row)
        if counts and not counts.keys() & found.keys():  # columns of some rows alone may be optional
            check_columns(files[0], _stated(usual_kinds(counts)), file, _stated(usual_kinds(found)))
        for name, kinds_found in found.items():
            counts.setdefault(name, Counter()).update(kinds_found)
    kinds = usual_kinds(counts)
    chosen, says = choose(_stated(kinds), columns, files[0])
    shards = make_shards(files, [None] * len(files))
    return JsonLines(root_of(paths, files), shards, chosen, says, {"kinds": kinds})


def _sampled(path: Path) -> list[dict[str, Any]]:
    """The objects among the first lines of a file."""
    lines = [line for line in sample(path) if line.strip()]
    rows = [row for row, problem in map(_parsed, lines) if problem is None]
    if rows:
        return rows
    first = lines[0].lstrip()[:1]
    if first in (b"[", b"{"):
        raise DataError(
            f"{path} is not of one JSON object a line, as is expected; convert it, such as with: jq -c '.[]'"
        )
    raise DataError(f"{path} holds no JSON objects: {_parsed(lines[0])[1]}; expected one a line")


def _parsed(line: bytes) -> tuple[dict[str, Any], str | None]:
    """The object of a line, or why there is none."""
    try:
        text = line.decode("utf-8")
        value = json.loads(text) if _is_simple(line) else parse_json(text)
    except UnicodeDecodeError:
        return {}, "not UTF-8"
    except json.JSONDecodeError as error:
        return {}, f"no JSON ({error.msg.lower()} at letter {error.pos + 1})"
    except ValueError as error:
        return {}, str(error)
    if not isinstance(value, dict):
        return {}, f"JSON of {type(value).__name__}, expected an object"
    return value, None


def _is_simple(line: bytes) -> bool:
    """Whether JSON is surely neither nested deeply nor of half characters, checks that take long."""
    return b"\\u" not in line and line.count(b"[") + line.count(b"{") <= DEEPEST


def _stated(kinds: dict[str, str]) -> pa.Schema:
    """Columns with those that may hold anything as such, so that they are no captions."""
    nested = pa.list_(pa.list_(pa.string()))
    return pa.schema([(name, nested if kind == "any" else TYPES[kind]) for name, kind in kinds.items()])


@dataclass(frozen=True)
class JsonLines(LineTable):
    """Files of JSON lines. Columns and their types are those of the first lines; nested values are JSON."""

    format: ClassVar[str] = "jsonl"

    def schema(self) -> pa.Schema:
        """Return the columns of the first lines of all files."""
        return pa.schema([(name, TYPES[kind]) for name, kind in self.options["kinds"].items()])

    def batches(self, shard: Shard, start: int = 0) -> Iterator[pa.RecordBatch]:
        """Read rows from ``start`` on; those before it are passed over."""
        return self.narrow(shard, start, self.schema().names)

    def narrow(self, shard: Shard, start: int, names: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Read only the columns named."""
        kinds = {name: kind for name, kind in self.options["kinds"].items() if name in names}
        _, lines = self.records(shard)
        for part in parts_of(itertools.islice(lines, start, None), len):
            yield _batch(part, kinds)

    def records(self, shard: Shard) -> tuple[bytes, Iterator[bytes]]:
        """Return the mark, and each line that is not empty."""
        return mark_of(shard.path), (line for line in lines_of(shard.path) if line.strip())

    def surveyed(self) -> JsonLines:
        """Read all rows to learn the columns of each; return a source that knows them all."""
        counts: Counts = {}
        for shard in self.shards:
            for line in self.records(shard)[1]:
                count_kinds(counts, _parsed(line)[0])
        return dataclasses.replace(self, options={**self.options, "kinds": all_kinds(counts)})


def _batch(lines: Sequence[bytes], kinds: dict[str, str]) -> pa.RecordBatch:
    parsed = [_parsed(line) for line in lines]
    rows = [row for row, _ in parsed]
    problems = [problem for _, problem in parsed]
    arrays = {name: column(rows, name, kind, problems) for name, kind in kinds.items()}
    if any(problem is not None for problem in problems):
        arrays[PROBLEM] = pa.array(problems, pa.string())
    return make_batch(arrays, len(rows))
