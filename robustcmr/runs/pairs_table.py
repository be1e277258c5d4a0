"""What a method came to believe of every training pair, as a CSV file that any other program can read."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from robustcmr.errors import DataError
from robustcmr.files import write_with
from robustcmr.runs.cells import finite_number, six_digits, whole_number
from robustcmr.types import PairsTable

Values = npt.NDArray[np.float64]

COLUMNS = (
    "pair",
    "caption",
    "image",
    "image_name",
    "evidence",
    "clean_probability",
    "decision",
    "rematch",
    "rematch_name",
    "score",
    "rematch_score",
    "margin",
)
"""Columns of the file, in this order."""

CLEAN, SUSPECT = "clean", "suspect"
_CHUNK = 10_000  # rows written at once


def write_pairs(path: Path, table: PairsTable) -> None:
    """Write a table of pairs as CSV (UTF-8, header, text quoted), atomically and chunk by chunk.

    ``decision`` is ``clean`` or ``suspect``, and ``margin`` is ``rematch_score - score``. Numbers have six
    significant digits; where there is no best other image its columns are empty.

    Args:
        path: the file.
        table: the pairs.

    Raises:
        UserError: the file cannot be written.
    """

    def fill(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        # text is quoted, so that line ends within a caption are never taken for those of a row
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(COLUMNS)
        for start in range(0, len(table), _CHUNK):
            writer.writerows(_rows(table, slice(start, min(start + _CHUNK, len(table)))))
        text.detach()  # all is written, and the file stays open

    write_with(path, fill)


def _rows(table: PairsTable, rows: slice) -> Iterator[tuple[Any, ...]]:
    places = range(rows.start, rows.stop)  # captions may be any sequence, and slow to cut
    return zip(
        table.pair[rows].tolist(),
        (table.caption[i] for i in places),
        table.image[rows].tolist(),
        (table.image_name[i] for i in places),
        six_digits(table.evidence[rows]),
        six_digits(table.clean_probability[rows]),
        (CLEAN if clean else SUSPECT for clean in table.is_clean[rows].tolist()),
        ("" if image < 0 else image for image in table.rematch[rows].tolist()),
        (table.rematch_name[i] for i in places),
        six_digits(table.score[rows]),
        six_digits(table.rematch_score[rows]),
        six_digits(table.rematch_score[rows].astype(np.float64) - table.score[rows]),
        strict=True,
    )


@dataclass
class _Columns:
    """The columns of a file while it is being read, compact."""

    pair: array[int] = field(default_factory=lambda: array("q"))
    image: array[int] = field(default_factory=lambda: array("q"))
    rematch: array[int] = field(default_factory=lambda: array("q"))
    evidence: array[float] = field(default_factory=lambda: array("d"))
    clean_probability: array[float] = field(default_factory=lambda: array("d"))
    score: array[float] = field(default_factory=lambda: array("d"))
    rematch_score: array[float] = field(default_factory=lambda: array("d"))
    is_clean: array[int] = field(default_factory=lambda: array("b"))
    caption: list[str] = field(default_factory=list)
    image_name: list[str] = field(default_factory=list)
    rematch_name: list[str] = field(default_factory=list)

    def add(self, row: list[str]) -> None:
        """Take over a row.

        Raises:
            ValueError: a value is none of its column.
        """
        if len(row) != len(COLUMNS):
            raise ValueError(f"{len(row)} columns, expected {len(COLUMNS)}")
        given = dict(zip(COLUMNS, row, strict=True))
        for name in ("pair", "image"):
            getattr(self, name).append(whole_number(name, given[name]))
        self.rematch.append(whole_number("rematch", given["rematch"]) if given["rematch"] else -1)
        for name in ("evidence", "clean_probability", "score"):
            getattr(self, name).append(finite_number(name, given[name]))
        self.rematch_score.append(
            finite_number("rematch_score", given["rematch_score"]) if given["rematch"] else np.nan
        )
        if not 0 <= self.clean_probability[-1] <= 1:
            raise ValueError(f"clean_probability is {given['clean_probability']}, expected 0 to 1")
        if given["decision"] not in (CLEAN, SUSPECT):
            raise ValueError(f"decision is '{given['decision']}', expected {CLEAN} or {SUSPECT}")
        self.is_clean.append(given["decision"] == CLEAN)
        for name in ("caption", "image_name", "rematch_name"):
            getattr(self, name).append(given[name])


def read_pairs(path: Path) -> PairsTable:
    """Read what :func:`write_pairs` wrote.

    Args:
        path: the file.

    Returns:
        The table; numbers as far as they were written. The margin follows from the scores.

    Raises:
        DataError: the file is missing, of another layout or damaged.
    """
    columns = _Columns()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            if tuple(header) != COLUMNS:
                raise DataError(
                    f"{path} is no table of pairs: it starts with '{','.join(header)[:80]}', expected the "
                    f"columns {','.join(COLUMNS)}"
                )
            _read_rows(path, lines, columns.add)
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}; expected the pairs.csv of a finished run"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; expected the pairs.csv of a finished run") from error
    except csv.Error as error:
        raise DataError(f"{path} is damaged: {error}; expected a table of pairs as it was written") from error
    return PairsTable(
        pair=np.array(columns.pair, dtype=np.int64),
        caption=columns.caption,
        image=np.array(columns.image, dtype=np.int64),
        image_name=columns.image_name,
        evidence=np.array(columns.evidence, dtype=np.float64),
        clean_probability=np.array(columns.clean_probability, dtype=np.float64),
        is_clean=np.array(columns.is_clean, dtype=np.bool_),
        rematch=np.array(columns.rematch, dtype=np.int64),
        rematch_name=columns.rematch_name,
        score=np.array(columns.score, dtype=np.float64),
        rematch_score=np.array(columns.rematch_score, dtype=np.float64),
    )


def _read_rows(path: Path, lines: Any, add: Callable[[list[str]], None]) -> None:
    for row in lines:
        try:
            add(row)
        except (ValueError, OverflowError) as error:
            raise DataError(
                f"{path} is damaged at line {lines.line_num}: {error}; expected a table of pairs as it was "
                "written"
            ) from error
