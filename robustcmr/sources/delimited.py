"""CSV, TSV and their relatives; kept records are written back byte for byte."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from robustcmr.errors import DataError
from robustcmr.sources.columns import choose
from robustcmr.sources.dialects import (
    Dialect,
    Record,
    has_names,
    is_number,
    is_picture_name,
    records,
    sniff,
)
from robustcmr.sources.lines import LineTable, lines_of, mark_of, parts_of, sample
from robustcmr.sources.names import listed
from robustcmr.sources.records import PROBLEM, Columns, Shard
from robustcmr.sources.shards import check_columns, check_names, files_below, make_shards, root_of
from robustcmr.sources.tables import is_address, make_batch

_PLAIN = (".csv", ".tsv", ".tab", ".psv")
SUFFIXES = (*_PLAIN, *(f"{suffix}.gz" for suffix in _PLAIN))
_USUAL_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|"}


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether all paths are named as delimited files, or are folders of them."""
    return all(
        bool(files_below([path], SUFFIXES))
        if path.is_dir()
        else path.name.lower().endswith((*SUFFIXES, ".txt"))
        for path in paths
    )


@dataclass(frozen=True)
class Layout:
    """How a file is written: its dialect, the names of its columns, and whether they are its first record."""

    dialect: Dialect
    names: tuple[str, ...]
    named: bool


def open(paths: Sequence[Path], columns: Columns) -> Delimited:
    """Open delimited files, or all below folders, as one source.

    Raises:
        DataError: there is none, one cannot be read or has other columns, or a named column is missing.
    """
    files = files_below(paths, SUFFIXES)
    if not files:
        raise DataError(f"{paths[0]} has no delimited files; expected names that end in .csv or .tsv")
    given = [name for name in (columns.image, columns.text, columns.id) if name is not None]
    lines = sample(files[0])
    first = _layout(lines, files[0], given)
    check_names(files[0], first.names)
    schema = _schema(first.names)
    layouts = [first, *(_alike(file, files[0], first, given) for file in files[1:])]
    rows = list(itertools.islice(records(iter(lines), first.dialect, len(first.names)), 500))
    cells = [record.cells for record in rows[first.named :] if record.problem is None]
    says = _says(first, files[0])
    if not first.named:
        columns, guessed = _by_content(first.names, cells, columns)
        says += guessed
    chosen, said = choose(schema, columns, files[0])
    options = {"layouts": tuple(layouts), "numbers": _numbers(first.names, cells)}
    shards = make_shards(files, [None] * len(files))
    return Delimited(root_of(paths, files), shards, chosen, (*says, *said), options)


def _layout(lines: Sequence[bytes], path: Path, given: Collection[str]) -> Layout:
    dialect = sniff(lines, _suffix(path))
    first = next(records(iter(lines), dialect, None), None)
    if first is None or first.problem is not None:
        why = "it has no rows" if first is None else f"its first line cannot be read: {first.problem}"
        raise DataError(f"{path} cannot be read as a delimited file: {why}; repair it, or leave it out")
    named = has_names(first.cells, given)
    names = [cell.strip() if named else "" for cell in first.cells]
    filled = tuple(name or f"column{number}" for number, name in enumerate(names, 1))
    return Layout(dialect, filled, named)


def _alike(path: Path, first_path: Path, first: Layout, given: Collection[str]) -> Layout:
    """The layout of a further file: that of the first one if its first record fits."""
    head = next(records(lines_of(path), first.dialect, len(first.names)), None)
    if head is not None and head.problem is None and not first.named:
        return first
    if (
        head is not None
        and head.problem is None
        and [cell.strip() for cell in head.cells] == list(first.names)
    ):
        return first
    found = _layout(sample(path), path, given)
    if found.named != first.named:
        one, other = (first_path, path) if first.named else (path, first_path)
        raise DataError(
            f"{one} has a first line with names of columns and {other} has none, expected all files alike; "
            "add or remove that line"
        )
    check_names(path, found.names)
    check_columns(first_path, _schema(first.names), path, _schema(found.names))
    return found


def _schema(names: Sequence[str]) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _says(layout: Layout, path: Path) -> list[str]:
    dialect = layout.dialect
    says = []
    usual = _USUAL_DELIMITERS.get(_suffix(path))
    if len(layout.names) > 1 and dialect.delimiter != usual:
        named = f", although its name ends in {_suffix(path)}" if usual else ""
        says.append(f"{path.name} is divided by {dialect.name}{named}.")
    if dialect.quotes == "none":
        says.append(f"Quotes in {path.name} are read as letters, since they do not enclose cells.")
    if dialect.quotes == "escaped":
        says.append(f"Quotes within cells of {path.name} are escaped by a backslash.")
    if not layout.named:
        says.append(
            f"{path.name} has no line with names of columns, so they are called {listed(layout.names)}."
        )
    return says


def _by_content(
    names: Sequence[str], rows: Sequence[Sequence[str]], given: Columns
) -> tuple[Columns, list[str]]:
    """Columns of a file without names: picture names or addresses, and the column of most words."""
    values = {name: [row[number] for row in rows] for number, name in enumerate(names)}
    free = [name for name in names if name not in (given.image, given.text, given.id)]
    pictures = [
        name
        for name in free
        if 2 * sum(is_picture_name(cell) or is_address(cell) for cell in values[name]) > len(rows)
    ]
    image = given.image or (pictures[0] if pictures else None)
    words = {name: sum(len(cell.split()) for cell in values[name]) for name in free if name != image}
    text = given.text or (max(words, key=lambda name: words[name]) if words else None)
    found = {"image": image if given.image is None else None, "text": text if given.text is None else None}
    guessed = ", ".join(f"{role} = {name}" for role, name in found.items() if name is not None)
    says = [f"Columns guessed by their values: {guessed} (others can be named with --image, --text)."]
    return Columns(image, text, given.id), says if guessed else []


def _numbers(names: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Columns whose values are all numbers, or empty."""
    found = []
    for number, name in enumerate(names):
        values = [row[number] for row in rows if row[number].strip()]
        if values and all(map(is_number, values)):
            found.append(name)
    return tuple(found)


@dataclass(frozen=True)
class Delimited(LineTable):
    """Delimited files. All columns are text; a condition sees those of numbers as numbers."""

    format: ClassVar[str] = "csv"

    def schema(self) -> pa.Schema:
        """Return the columns of the first file, all of text."""
        return _schema(self.options["layouts"][0].names)

    def batches(self, shard: Shard, start: int = 0) -> Iterator[pa.RecordBatch]:
        """Read rows from ``start`` on; those before it are read and left out."""
        return self.narrow(shard, start, self.schema().names)

    def narrow(self, shard: Shard, start: int, names: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Read only the columns named."""
        layout = self.options["layouts"][shard.number]
        rows = itertools.islice(self._records(shard, layout), start, None)
        chosen = [name for name in self.schema().names if name in names]
        for part in parts_of(rows, lambda record: len(record.raw)):
            yield _batch(part, chosen, layout.names)

    def _records(self, shard: Shard, layout: Layout) -> Iterator[Record]:
        found = records(lines_of(shard.path), layout.dialect, len(layout.names))
        return itertools.islice(found, int(layout.named), None)

    def records(self, shard: Shard) -> tuple[bytes, Iterator[bytes]]:
        """Return the mark and the line of names, and the bytes of each record."""
        layout = self.options["layouts"][shard.number]
        found = records(lines_of(shard.path), layout.dialect, len(layout.names))
        before = next(found).raw if layout.named else b""
        return mark_of(shard.path) + before, (record.raw for record in found)


def _batch(part: Sequence[Record], chosen: Sequence[str], names: Sequence[str]) -> pa.RecordBatch:
    problems = [record.problem for record in part]
    none = ("",) * len(names)
    rows = [record.cells if record.problem is None else none for record in part]
    by_column = list(zip(*rows, strict=True))
    columns = {}
    for name in chosen:
        cells = list(by_column[names.index(name)])
        try:
            columns[name] = pa.array(cells, pa.string())
        except UnicodeEncodeError:  # bytes that are not UTF-8 came as lone surrogates
            for row, cell in enumerate(cells):
                if not _is_encoded(cell):
                    problems[row], cells[row] = "not UTF-8", ""
            columns[name] = pa.array(cells, pa.string())
    if any(problem is not None for problem in problems):
        sound = pa.array([problem is None for problem in problems])
        columns = {name: pc.if_else(sound, column, None) for name, column in columns.items()}
        columns[PROBLEM] = pa.array(problems, pa.string())
    return make_batch(columns, len(part))


def _is_encoded(cell: str) -> bool:
    try:
        cell.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
