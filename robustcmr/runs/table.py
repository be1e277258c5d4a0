"""CSV tables of a run, read and written by one schema.

A table is a dataclass of columns with one entry per row. Its schema lists the columns of the file, and how
each parses and formats a cell. Files are UTF-8 with a header; text is quoted; numbers have six digits. A
``'`` before text that a spreadsheet would run as a formula is added on writing and taken away on reading.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import numpy as np

from noise_injection.formulas import neutral, original
from robustcmr.errors import DataError
from robustcmr.files import LARGEST_TEXT, reason, regular_file, write_with
from robustcmr.runs import frames

_CHUNK = 10_000  # rows written at once


@dataclass(frozen=True)
class Cell:
    """The values of a column."""

    code: str | None  # typecode of an array of the values; None for text
    parse: Callable[[str], Any]  # of a cell; raises ValueError with the cell and what was expected
    format: Callable[[Any], Sequence[Any]]  # cells of an array or list of values


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"'{text}', expected a whole number from 0")
    return int(text)


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f"'{text}', expected a finite number")
    return value


def _share(text: str) -> float:
    value = _finite(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text}, expected 0 to 1")
    return value


def _six_digits(values: Any) -> list[float | str]:
    return ["" if value != value else float(f"{value:.6g}") for value in values.tolist()]  # NaN is empty


WHOLE = Cell("q", _whole, np.ndarray.tolist)
REAL = Cell("d", _finite, _six_digits)
SHARE = Cell("d", _share, _six_digits)
TEXT = Cell(None, str, list)
OPTIONAL_REAL = Cell("d", lambda text: _finite(text) if text else np.nan, _six_digits)


def optional_whole(none: int) -> Cell:
    """Return cells of whole numbers, empty for the value ``none`` that is below all others."""
    return Cell(
        "q",
        lambda text: _whole(text) if text else none,
        lambda values: ["" if value <= none else value for value in values.tolist()],
    )


def choice(true: str, false: str) -> Cell:
    """Return cells of one of two words."""

    def parse(text: str) -> bool:
        if text not in (true, false):
            raise ValueError(f"'{text}', expected {true} or {false}")
        return text == true

    return Cell("b", parse, lambda values: [true if value else false for value in values.tolist()])


@dataclass(frozen=True)
class Column:
    """A column of a file."""

    name: str  # in the header
    cell: Cell
    field: str = ""  # attribute of the table; the name by default
    optional: str | None = None  # a column without which this one is absent
    derived: bool = False  # follows from other columns: checked on reading, but not kept


class Table:
    """Base of the dataclasses that are written as CSV.

    Attributes:
        file: usual name in a run folder.
        columns: of the file, in order.
    """

    file: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    lists: ClassVar[tuple[str, ...]] = ()
    """Attributes that are no columns."""

    def __post_init__(self) -> None:
        for name, column in vars(self).items():
            if name not in self.lists and column is not None and len(column) != len(self):
                raise ValueError(f"{name} has {len(column)} entries for {len(self)} pairs; give one a pair")

    def __len__(self) -> int:
        return len(vars(self)["pair"])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self):,} pairs: {', '.join(self.to_columns())}>"

    def write(self, path: Path) -> None:
        """Write the table atomically, leaving out optional columns that are None.

        Raises:
            UserError: the file cannot be written.
        """
        values = {column: getattr(self, column.field or column.name) for column in self.columns}
        known = {column: entries for column, entries in values.items() if entries is not None}

        def fill(file: BinaryIO) -> None:
            text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
            # text is quoted, so that line ends within a caption do not end a row
            writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            writer.writerow([column.name for column in known])
            for start in range(0, len(self), _CHUNK):
                rows = range(start, min(start + _CHUNK, len(self)))
                cells = [
                    list(map(neutral, written)) if column.cell is TEXT else written
                    for column, entries in known.items()
                    for written in [column.cell.format(_cut(entries, rows))]
                ]
                writer.writerows(zip(*cells, strict=True))
            text.detach()  # all is written, and the file stays open

        write_with(path, fill)

    def to_columns(self) -> dict[str, Any]:
        """Return the columns by their name in the file, leaving out optional ones that are None."""
        values = {column.name: getattr(self, column.field or column.name) for column in self.columns}
        return {name: entries for name, entries in values.items() if entries is not None}

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame``; raise UserError without pandas."""
        return frames.to_pandas(self.to_columns())

    def to_arrow(self) -> Any:
        """Return the table as a ``pyarrow.Table``; raise UserError without pyarrow."""
        return frames.to_arrow(self.to_columns())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a table from :meth:`write`; numbers are exact to the digits written.

        Raises:
            DataError: the file is missing, has other columns or is damaged.
        """
        expected = f"expected the {cls.file} of a finished run"
        try:
            with (
                regular_file(path, LARGEST_TEXT) as binary,
                io.TextIOWrapper(binary, "utf-8-sig", newline="") as file,
            ):
                lines = csv.reader(file, strict=True)
                rows = _Rows(cls, cls._header(path, next(lines, [])))
                for row in lines:
                    try:
                        rows.add(row)
                    except (ValueError, OverflowError) as error:
                        raise DataError(
                            f"{path} is damaged at line {lines.line_num}: {error}; {expected}"
                        ) from error
        except OSError as error:
            raise DataError(f"cannot read {path}: {reason(error)}; {expected}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 text; {expected}") from error
        except csv.Error as error:
            raise DataError(f"{path} is damaged: {error}; {expected}") from error
        return cls.from_columns(rows.columns(), rows.seen)

    @classmethod
    def empty(cls) -> Self:
        """Return a table without rows."""
        required = [column for column in cls.columns if column.optional is None]
        return cls.from_columns(_Rows(cls, required).columns(), {})

    @classmethod
    def _header(cls, path: Path, header: list[str]) -> list[Column]:
        columns = [column for column in cls.columns if column.optional is None or column.optional in header]
        names = [column.name for column in columns]
        if header != names:
            raise DataError(
                f"{path} is no table of {cls.file.partition('.')[0]}: it starts with "
                f"{','.join(header)[:80]!a}, expected the columns {','.join(names)}"
            )
        return columns

    @classmethod
    def check_row(cls, cells: Mapping[str, str], values: Mapping[str, Any], seen: dict[Any, Any]) -> None:
        """Check a row across its columns.

        Args:
            cells: as text, by column.
            values: parsed, by column, without derived columns.
            seen: whatever must be remembered from row to row.

        Raises:
            ValueError: columns contradict each other.
        """

    @classmethod
    def from_columns(cls, columns: dict[str, Any], seen: dict[Any, Any]) -> Self:
        """Return the table of columns by attribute; ``seen`` is that of :meth:`check_row`."""
        del seen
        return cls(**columns)


class _Rows:
    """The rows of a file while it is read, in compact columns."""

    def __init__(self, table: type[Table], header: list[Column]) -> None:
        self._table = table
        self._header = header
        self.seen: dict[Any, Any] = {}
        self._kept = [column for column in header if not column.derived]
        self._values: list[Any] = [
            [] if column.cell.code is None else array(column.cell.code) for column in self._kept
        ]

    def add(self, row: list[str]) -> None:
        if len(row) != len(self._header):
            raise ValueError(f"{len(row)} columns, expected {len(self._header)}")
        cells = {
            column.name: original(text) if column.cell is TEXT else text
            for column, text in zip(self._header, row, strict=True)
        }
        values: dict[str, Any] = {}
        for column, kept in zip(self._kept, self._values, strict=True):
            try:
                value = column.cell.parse(cells[column.name])
            except ValueError as error:
                raise ValueError(f"{column.name} is {error}") from error
            kept.append(value)
            values[column.name] = value
        self._table.check_row(cells, values, self.seen)

    def columns(self) -> dict[str, Any]:
        kinds = {"q": np.int64, "d": np.float64, "b": np.bool_}
        return {
            column.field or column.name: values
            if column.cell.code is None
            else np.array(values, dtype=kinds[column.cell.code])
            for column, values in zip(self._kept, self._values, strict=True)
        }


def _cut(entries: Any, rows: range) -> Any:
    if isinstance(entries, np.ndarray):
        return entries[rows.start : rows.stop]
    return [entries[row] for row in rows]  # captions may be any sequence
