"""How the records of a delimited file are written: delimiter, quotes, names of columns; told from a sample.

Published files are often named ``.csv`` and written otherwise. Each way that occurs is tried on the first
lines, and the one that divides most of them into the same number of cells is used.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from robustcmr.sources.columns import USUAL, plain

LARGEST_CELL = 64 * 2**20
"""Characters of a cell, at most."""

_MOST_LINES = 256  # of a record; after more, a quote counts as never closed
_USUAL = {name for names in USUAL.values() for name in names}
_PICTURE = re.compile(r"\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif)(?:#\d+)?$", re.IGNORECASE)
_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}


@dataclass(frozen=True)
class Dialect:
    """How records are written.

    Attributes:
        delimiter: between cells.
        quotes: ``doubled`` or ``escaped`` within quoted cells, or ``none`` where quotes are plain letters.
        spaced: whether a space follows each delimiter.
    """

    delimiter: str = ","
    quotes: str = "doubled"
    spaced: bool = False

    @property
    def name(self) -> str:
        """The delimiter in words."""
        return _NAMES[self.delimiter]

    def reader(self, lines: Iterator[str]) -> Any:
        """Return a reader of the ``csv`` module."""
        csv.field_size_limit(max(csv.field_size_limit(), LARGEST_CELL))  # its default is 128 KiB
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_NONE if self.quotes == "none" else csv.QUOTE_MINIMAL,
            doublequote=self.quotes == "doubled",
            escapechar="\\" if self.quotes == "escaped" else None,
            skipinitialspace=self.spaced,
            strict=True,
        )


class Record(NamedTuple):
    """A record of a file: its bytes, its cells, and why they cannot be used."""

    raw: bytes
    cells: list[str]
    problem: str | None


class _Feed(Iterator[str]):
    """Lines for a reader, which keeps those of the current record to read them again if need be."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._again: list[bytes] = []
        self.taken: list[bytes] = []

    def __next__(self) -> str:
        if len(self.taken) == _MOST_LINES:
            raise csv.Error("a quote is not closed")
        line = self._again.pop() if self._again else next(self._lines)
        self.taken.append(line)
        return line.decode("utf-8", "surrogateescape")

    def keep_first(self) -> bytes:
        """Return the first line taken, and read the others again."""
        first, *rest = self.taken
        self._again += reversed(rest)
        return first


def records(lines: Iterator[bytes], dialect: Dialect, cells: int | None) -> Iterator[Record]:
    """Divide lines into records; empty lines are none.

    A record over several lines that cannot be read counts as one line: its other lines are read again, so
    that a quote that is never closed costs a row, not the rest of the file. Bytes that are not UTF-8 come as
    lone surrogates.

    Args:
        lines: with their ends.
        dialect: of the file.
        cells: expected of each record; None takes any number.
    """
    feed = _Feed(lines)
    reader = dialect.reader(feed)
    while True:
        feed.taken = []
        try:
            found = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = _reason(str(error), len(feed.taken))
            yield Record(feed.keep_first(), [], problem)
            continue
        if not found:
            continue
        if cells is not None and len(found) != cells:
            over = f" over {len(feed.taken)} lines" if len(feed.taken) > 1 else ""
            problem = f"{len(found)} cell{'s' * (len(found) != 1)}{over}, expected {cells}"
            yield Record(feed.keep_first(), [], problem)
        else:
            yield Record(feed.taken[0] if len(feed.taken) == 1 else b"".join(feed.taken), found, None)


def _reason(said: str, lines: int) -> str:
    if lines > 1 or "unexpected end" in said:
        return "a quote is not closed"
    if "expected after" in said:
        return "text follows a closing quote"
    return said


def sniff(lines: Sequence[bytes], suffix: str) -> Dialect:
    """Return the dialect that fits most lines; among equals the usual one of a suffix such as ``.tsv``."""
    first = {".tsv": "\t", ".tab": "\t", ".psv": "|"}.get(suffix, ",")
    delimiters = sorted(_NAMES, key=lambda one: one != first)
    escapes = any(b'\\"' in line for line in lines)  # else it would only be less strict
    best, most = Dialect(first), -1.0
    for delimiter in delimiters:
        spaced = _is_spaced(lines, delimiter)
        for quotes in ("doubled", "escaped", "none") if escapes else ("doubled", "none"):
            dialect = Dialect(delimiter, quotes, spaced)
            if (fits := _share(lines, dialect)) > most + 1e-9:
                best, most = dialect, fits
    if most > 0:
        return best
    absent = (one for one in delimiters if not any(one.encode() in line for line in lines))
    return Dialect(next(absent, first))  # of a single column, whose cells may hold the usual delimiter


def _share(lines: Sequence[bytes], dialect: Dialect) -> float:
    """Share of lines in records of as many cells as the first; 0 where there is but one cell."""
    used, cells = 0, 0
    for record in records(iter(lines), dialect, None):
        if not cells:
            cells = len(record.cells)
            if cells < 2:
                return 0.0
        if record.problem is None and len(record.cells) == cells:
            used += record.raw.count(b"\n") or 1
    return used / max(1, sum(1 for line in lines if line.strip()))


def _is_spaced(lines: Sequence[bytes], delimiter: str) -> bool:
    """Whether each delimiter of the first lines is followed by a space."""
    found = [line for line in lines[:20] if delimiter.encode() in line]
    return bool(found) and all(
        line.count(f"{delimiter} ".encode()) == line.count(delimiter.encode()) for line in found
    )


def has_names(cells: Sequence[str], given: Collection[str]) -> bool:
    """Return whether the cells of a first record are names of columns, not values.

    Args:
        cells: of the record.
        given: names of columns that the user gave.
    """
    names = [cell.strip() for cell in cells]
    if set(names) & set(given):
        return True
    if names == [str(number) for number in range(len(names))]:
        return True  # as pandas names columns without names
    if any(map(_is_value, names)):
        return False
    return any(plain(name) in _USUAL for name in names) or (all(names) and len(set(names)) == len(names))


def _is_value(cell: str) -> bool:
    """Whether a cell looks like a value: an address, a picture's name, a number or a sentence."""
    return "://" in cell or is_picture_name(cell) or is_number(cell) or len(cell.split()) > 4


def is_picture_name(cell: str) -> bool:
    """Return whether a cell ends as names of picture files do."""
    return _PICTURE.search(cell) is not None


def is_number(cell: str) -> bool:
    """Return whether a cell is a number that 64 bits hold without loss of digits."""
    try:
        float(cell)
    except ValueError:
        return False
    return sum(letter.isdigit() for letter in cell) <= 15 and "_" not in cell
