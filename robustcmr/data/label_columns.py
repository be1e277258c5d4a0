"""Image vectors, text vectors and class labels, read from files of any layout.

Labels are numbers that count from 0 or from 1, a one-hot matrix, or a column of a text file.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from robustcmr.data.array_files import read_array
from robustcmr.data.captions import read_lines
from robustcmr.data.labelled_layout import Table
from robustcmr.data.labelled_options import Base
from robustcmr.data.scan import named
from robustcmr.errors import DataError
from robustcmr.types import IntArray

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LabelColumn:
    """The classes of n rows as the file writes them: (n,) int64 numbers, or columns of a one-hot matrix.

    ``width`` is the number of columns of the matrix; None for plain numbers.
    """

    numbers: IntArray
    width: int | None = None


def read_table(table: Table, transposed: bool | None) -> tuple[Array, Array, LabelColumn]:
    """Read images (n, F), texts (n, V), each in memory or mapped, and n labels, one pair a row.

    ``transposed`` says whether the pairs are columns of the arrays; None infers it from the number of labels.

    Raises:
        DataError: a file is missing or damaged, or the columns do not fit each other.
    """
    if isinstance(table.label.key, int):
        labels = _label_list(table.label.file, table.label.key)
    else:
        labels = column_of(read_array(table.label.file, table.label.key), str(table.label), transposed)
    n, arrays, flips = len(labels.numbers), [], []
    for place in (table.image, table.text):
        array = read_array(place.file, str(place.key))
        if array.ndim != 2 or 0 in array.shape:
            raise DataError(f"{place} has shape {array.shape}; expected (pairs, numbers a vector)")
        fits = {flip for flip in (False, True) if array.shape[int(flip)] == n and transposed in (None, flip)}
        if not fits:
            stated = "" if transposed is None else f", with transposed: {str(transposed).lower()},"
            raise DataError(
                f"{place} has shape {array.shape[0]}x{array.shape[1]}{stated} but {table.label} has {n} "
                "labels; expected one vector a label"
            )
        arrays.append(array)
        flips.append(fits)
    # a square array fits both ways, so the other one decides
    common = flips[0] & flips[1]
    if len(flips[0]) == len(flips[1]) == 2:
        raise DataError(
            f"{table.image} and {table.text} are both {n}x{n}; say whether their pairs are columns with "
            "transposed: true or false"
        )
    turned = []
    for name, place, array, fits in zip(
        ("image", "text"), (table.image, table.text), arrays, flips, strict=True
    ):
        if True in (fits if len(fits) == 1 else common):
            array = np.ascontiguousarray(np.asarray(array).T)
        how = "mapped" if isinstance(array, np.memmap) else f"loaded {array.nbytes / 2**20:.1f} MiB of"
        logger.info("%s %s vectors from %s, %d x %d %s", how, name, place.file, *array.shape, array.dtype)
        turned.append(array)
    return turned[0], turned[1], labels


def column_of(array: Array, where: str, transposed: bool | None) -> LabelColumn:
    """Interpret an array of labels: (n,), (n, 1) or (1, n) numbers; or a one-hot matrix, (n, K) or (K, n).

    ``where`` names the array in messages; ``transposed`` says whether the pairs are columns of a one-hot
    matrix, None infers it.

    Raises:
        DataError: it is none of these, is empty, or has numbers that are not whole.
    """
    if array.size == 0:
        raise DataError(f"{where} is empty, of shape {array.shape}; expected one label a pair")
    if array.ndim > 2 or array.ndim == 0:
        raise DataError(f"{where} has shape {array.shape}; expected one number a pair, or a one-hot matrix")
    if array.ndim == 1 or 1 in array.shape:
        return LabelColumn(_whole(array.reshape(-1), where))
    rows_fit, columns_fit = (_is_one_hot(matrix) for matrix in (array, array.T))
    if transposed is None and rows_fit.all() and columns_fit.all():
        raise DataError(
            f"{where} is one-hot by rows and by columns; say which are the pairs with transposed: "
            "false or true"
        )
    flip = bool(columns_fit.all()) if transposed is None else transposed
    matrix, fits = (array.T, columns_fit) if flip else (array, rows_fit)  # (n, K)
    if not fits.all():
        raise DataError(
            f"{where} has shape {array.shape} but is not one-hot: row {int(np.argmin(fits))} has not a "
            "single 1 among zeros; expected one class a pair"
        )
    return LabelColumn(matrix.argmax(axis=1).astype(np.int64), matrix.shape[1])


def _is_one_hot(matrix: Array) -> npt.NDArray[np.bool_]:
    """Return for each row whether it is a single 1 among zeros."""
    one_hot: npt.NDArray[np.bool_] = ((matrix == 0) | (matrix == 1)).all(axis=1) & (matrix.sum(axis=1) == 1)
    return one_hot


def _whole(values: Array, where: str) -> IntArray:
    if values.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(values) | (values != np.floor(values)) | (np.abs(values) > 2**53))
        if bad.size:
            more = f" and {bad.size - 1} more" if bad.size > 1 else ""
            raise DataError(
                f"{where} has labels that are not whole numbers: {values[bad[0]]} at row {bad[0]}{more}; "
                "expected classes such as 0, 1, 2"
            )
    elif values.dtype.kind == "u" and values.max() >= 2**63:
        raise DataError(f"{where} has a label {values.max()}; expected classes such as 0, 1, 2")
    return values.astype(np.int64)


def _label_list(path: Path, column: int) -> LabelColumn:
    """Read labels from a text file, one pair a line; columns are separated by tabs, else by blanks."""
    numbers: list[int] = []
    for line_number, line in enumerate(read_lines(path, strip_end=True), start=1):
        fields = line.split("\t") if "\t" in line else line.split()
        try:
            numbers.append(int(fields[column]))
            if abs(numbers[-1]) >= 2**63:
                raise ValueError("beyond 64 bits")
        except (ValueError, IndexError) as error:
            raise DataError(
                f"{path} has no class in column {column} of line {line_number}, {line[:60]!r}; expected a "
                "whole number there, or another column by label_column"
            ) from error
    return LabelColumn(np.array(numbers, dtype=np.int64))


@dataclass(frozen=True)
class Classes:
    """The classes as the training labels define them.

    ``first`` is the number of the first class in the file, 0 or 1; ``one_hot`` is the form of the labels.
    """

    first: int
    one_hot: bool
    names: tuple[str, ...]

    @classmethod
    def of_training(
        cls, train: LabelColumn, base: Base, names: tuple[str, ...] | None, n_classes: int | None, where: str
    ) -> Self:
        """Infer the classes from the training labels.

        Every class has a training pair, so with ``base`` auto a label of 0, or of the number of classes,
        decides which number the first class has. ``names`` and ``n_classes`` are given where known.

        Raises:
            DataError: the first class cannot be inferred, there are other classes than expected, or one of
                them has no training pair.
        """
        first = _first_class(train, n_classes, base, where)
        count = n_classes or train.width or int(train.numbers.max()) + 1 - first
        if train.width not in (None, count):
            raise DataError(
                f"{where} is one-hot with {train.width} columns; expected one for each of {count} classes"
            )
        if n_classes is None and count > len(train.numbers):  # before memory is taken for each class
            raise DataError(
                f"{where} has labels up to {train.numbers.max()}, {count} classes, for {len(train.numbers)} "
                "training pairs; give each class at least one, or number the classes without gaps"
            )
        found = cls(
            first, train.width is not None, names or tuple(f"class {k + first}" for k in range(count))
        )
        labels = found._in_range(train.numbers - first, first, where)
        missing = np.flatnonzero(np.bincount(labels, minlength=count) == 0)
        if missing.size:
            raise DataError(
                f"{missing.size} of {count} classes have no training pair: "
                f"{named([f'{k} ({found.names[k]})' for k in missing])}; give each class at least one, or "
                "number the classes without gaps"
            )
        return found

    def labels_of(self, written: LabelColumn, split: str, base: Base, where: str) -> IntArray:
        """Return the labels of a split, counted from 0."""
        first = 0 if written.width is not None else self.first
        if self.one_hot and written.width is None:
            if base == "auto":
                raise DataError(
                    f"the train split has one-hot labels and the {split} split plain numbers, so it is "
                    "unclear whether these count from 0 or from 1; set it, such as --set data.label_base=1"
                )
            first = base
        return self._in_range(written.numbers - first, first, where)

    def _in_range(self, labels: IntArray, first: int, where: str) -> IntArray:
        count = len(self.names)
        bad = np.flatnonzero((labels < 0) | (labels >= count))
        if bad.size:
            raise DataError(
                f"{where} has {bad.size} labels outside {first}..{count - 1 + first}: "
                f"{named([f'{labels[row] + first} at row {row}' for row in bad])}; expected one of {count} "
                "classes"
            )
        return labels


def _first_class(train: LabelColumn, n_classes: int | None, base: Base, where: str) -> int:
    low, high = int(train.numbers.min()), int(train.numbers.max())
    if low == high:
        raise DataError(
            f"all {len(train.numbers)} labels of {where} are of one class; expected at least two classes"
        )
    if train.width is not None:
        return 0  # columns count from 0, whatever label_base says of plain numbers
    if base != "auto":
        return base
    if low == 0:
        return 0
    if (low >= 1 and high == n_classes) or (low == 1 and n_classes is None):
        return 1
    known = "" if n_classes is None else f" for {n_classes} classes"
    raise DataError(
        f"{where} has labels {low}..{high}{known}, so it is unclear whether classes count from 0 or from 1; "
        "check them, or set it, such as --set data.label_base=1"
    )


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read the names of the classes, one a line, the first class first."""
    names: dict[str, None] = {}
    for number, line in enumerate(read_lines(path, strip_end=True), start=1):
        name = normalize("NFC", line.strip())
        if not name:
            raise DataError(f"line {number} of {path} is blank; expected the name of a class on each line")
        if name in names:
            raise DataError(f"{path} names the class {name!r} twice; expected each class once")
        names[name] = None
    return tuple(names)
