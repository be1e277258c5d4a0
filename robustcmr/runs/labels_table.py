"""What a method took the class of every training pair to be, as a CSV file that any program can read."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from robustcmr.errors import DataError
from robustcmr.files import write_with
from robustcmr.runs.cells import finite_number, six_digits, whole_number
from robustcmr.types import IntArray

Values = npt.NDArray[np.float64]

CHANGED, KEPT = "changed", "kept"
_CHUNK = 10_000  # rows written at once
_EXPECTED = "expected the labels.csv of a finished run"


@dataclass(frozen=True)
class LabelsTable:
    """All N training pairs with their given and corrected classes, as reported at the end of a run.

    Attributes:
        pair: (N,) int64, the pair in the training set.
        given: (N,) int64 in 0..K-1, the given class; the image's, where the text has its own.
        corrected: (N,) int64 in 0..K-1, what the method takes the class to be.
        confidence: (N,) in 0..1, how sure it is of that.
        class_names: K names; of a table read from a file, "" for classes that do not occur in it.
        given_text: (N,) int64 in 0..K-1, the text's given class, or None where both have the same.
        evidence: (N,) finite, what spoke against the given class, or None where there is none.
        caption: N captions as they were written, or None where they are not known.
    """

    pair: IntArray
    given: IntArray
    corrected: IntArray
    confidence: Values
    class_names: tuple[str, ...]
    given_text: IntArray | None = None
    evidence: Values | None = None
    caption: Sequence[str] | None = None

    def __post_init__(self) -> None:
        n, k = len(self.pair), len(self.class_names)
        for name, column in vars(self).items():
            if name != "class_names" and column is not None and len(column) != n:
                raise ValueError(f"{name} has {len(column)} entries for {n} pairs; give one a pair")
        for name in ("given", "given_text", "corrected"):
            labels = getattr(self, name)
            if labels is not None and n > 0 and (labels.min() < 0 or labels.max() >= k):
                raise ValueError(
                    f"{name} must lie in 0..{k - 1} for {k} class names, got {labels.min()}..{labels.max()}"
                )
        if not ((self.confidence >= 0) & (self.confidence <= 1)).all():
            raise ValueError("confidence must lie in 0..1 for every pair")
        if self.evidence is not None and not np.isfinite(self.evidence).all():
            raise ValueError("evidence holds NaN or infinite numbers; every pair needs a finite one")

    def __len__(self) -> int:
        return len(self.pair)

    @property
    def changed(self) -> npt.NDArray[np.bool_]:
        """(N,) bool, True where the corrected class differs from a given one."""
        changed = np.not_equal(self.corrected, self.given)
        return changed if self.given_text is None else changed | (self.corrected != self.given_text)


def column_names(per_modality: bool, evidence: bool, caption: bool) -> tuple[str, ...]:
    """Columns of the file, in their order.

    Args:
        per_modality: whether the text has a given class of its own.
        evidence: whether there is evidence.
        caption: whether captions are known.
    """
    return (
        *("pair", "given", "given_name"),
        *(("given_text", "given_text_name") if per_modality else ()),
        *("corrected", "corrected_name", "confidence", "decision"),
        *(("evidence",) if evidence else ()),
        *(("caption",) if caption else ()),
    )


def write_labels(path: Path, table: LabelsTable) -> None:
    """Write a table of labels as CSV (UTF-8, header, text quoted), atomically and chunk by chunk.

    Every class has its number and, beside it, its name; ``decision`` is ``changed`` or ``kept``. Numbers have
    six significant digits. Columns for what is not known are left out.

    Args:
        path: the file.
        table: the labels.

    Raises:
        UserError: the file cannot be written.
    """

    def fill(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        # text is quoted, so that line ends within a caption are never taken for those of a row
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        known = (table.given_text is not None, table.evidence is not None, table.caption is not None)
        writer.writerow(column_names(*known))
        for start in range(0, len(table), _CHUNK):
            writer.writerows(_rows(table, slice(start, min(start + _CHUNK, len(table)))))
        text.detach()  # all is written, and the file stays open

    write_with(path, fill)


def _rows(table: LabelsTable, rows: slice) -> Iterator[tuple[Any, ...]]:
    columns: list[Iterable[Any]] = [table.pair[rows].tolist()]
    for labels in (table.given, table.given_text, table.corrected):
        if labels is not None:
            numbers = labels[rows].tolist()
            columns += [numbers, [table.class_names[number] for number in numbers]]
    columns.append(six_digits(table.confidence[rows]))
    columns.append([CHANGED if changed else KEPT for changed in table.changed[rows].tolist()])
    if table.evidence is not None:
        columns.append(six_digits(table.evidence[rows]))
    if table.caption is not None:  # it may be any sequence, and slow to cut
        columns.append([table.caption[i] for i in range(rows.start, rows.stop)])
    return zip(*columns, strict=True)


@dataclass
class _Reading:
    """The columns of a file while it is being read, compact."""

    header: tuple[str, ...]
    whole: dict[str, array[int]] = field(default_factory=dict)
    real: dict[str, array[float]] = field(default_factory=dict)
    caption: list[str] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.header:
            if name in ("pair", "given", "given_text", "corrected"):
                self.whole[name] = array("q")
            elif name in ("confidence", "evidence"):
                self.real[name] = array("d")

    def add(self, row: list[str]) -> None:
        """Take over a row.

        Raises:
            ValueError: a value is none of its column, or contradicts another.
        """
        if len(row) != len(self.header):
            raise ValueError(f"{len(row)} columns, expected {len(self.header)}")
        cells = dict(zip(self.header, row, strict=True))
        for column, numbers in self.whole.items():
            numbers.append(_whole(column, cells[column]))
            if column != "pair":
                self._learn_name(numbers[-1], cells[f"{column}_name"])
        for column, values in self.real.items():
            values.append(finite_number(column, cells[column]))
        if not 0 <= self.real["confidence"][-1] <= 1:
            raise ValueError(f"confidence is {cells['confidence']}, expected 0 to 1")
        given = {self.whole[name][-1] for name in ("given", "given_text") if name in self.whole}
        decision = KEPT if given == {self.whole["corrected"][-1]} else CHANGED
        if cells["decision"] != decision:
            raise ValueError(f"decision is '{cells['decision']}', expected '{decision}' of these classes")
        if "caption" in cells:
            self.caption.append(cells["caption"])

    def _learn_name(self, number: int, name: str) -> None:
        if self.names.setdefault(number, name) != name:
            raise ValueError(f"class {number} is named '{name}' here and '{self.names[number]}' before")

    def table(self) -> LabelsTable:
        whole = {name: np.array(values, dtype=np.int64) for name, values in self.whole.items()}
        real = {name: np.array(values, dtype=np.float64) for name, values in self.real.items()}
        return LabelsTable(
            pair=whole["pair"],
            given=whole["given"],
            corrected=whole["corrected"],
            confidence=real["confidence"],
            class_names=tuple(
                self.names.get(number, "") for number in range(max(self.names, default=-1) + 1)
            ),
            given_text=whole.get("given_text"),
            evidence=real.get("evidence"),
            caption=self.caption if "caption" in self.header else None,
        )


_MOST_CLASSES = 10**6  # a larger number is damage, and names for all classes before it would fill the memory


def _whole(column: str, text: str) -> int:
    number = whole_number(column, text)
    if column != "pair" and number >= _MOST_CLASSES:
        raise ValueError(f"{column} is {text}, expected a class number below {_MOST_CLASSES}")
    return number


def read_labels(path: Path) -> LabelsTable:
    """Read what :func:`write_labels` wrote.

    Args:
        path: the file.

    Returns:
        The table; numbers as far as they were written, names of the classes that occur.

    Raises:
        DataError: the file is missing, of another layout or damaged.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            reading = _Reading(_checked_header(path, tuple(next(lines, []))))
            for row in lines:
                try:
                    reading.add(row)
                except (ValueError, OverflowError) as error:
                    raise DataError(
                        f"{path} is damaged at line {lines.line_num}: {error}; {_EXPECTED}"
                    ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; {_EXPECTED}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; {_EXPECTED}") from error
    except csv.Error as error:
        raise DataError(f"{path} is damaged: {error}; {_EXPECTED}") from error
    return reading.table()


def _checked_header(path: Path, header: tuple[str, ...]) -> tuple[str, ...]:
    expected = column_names("given_text" in header, "evidence" in header, "caption" in header)
    if header != expected:
        raise DataError(
            f"{path} is no table of labels: it starts with '{','.join(header)[:80]}', expected the columns "
            f"{','.join(expected)}"
        )
    return header
