"""Classes of pairs out of number columns, one-hot matrices and text lists, counted from 0 or from 1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from robustcmr.errors import DataError
from robustcmr.types import IntArray

NAMED = 10
Base = Literal["auto", 0, 1]


@dataclass(frozen=True)
class LabelColumn:
    """The classes of a file's rows as they are written.

    Attributes:
        numbers: (n,) int64; for a one-hot matrix the column of the one, from 0.
        width: columns of a one-hot matrix, or None where plain numbers are written.
    """

    numbers: IntArray
    width: int | None = None


def column_of(array: npt.NDArray[Any], where: str, transposed: bool | None) -> LabelColumn:
    """Understand an array of labels.

    Args:
        array: (n,), (n, 1) or (1, n) numbers; or a one-hot matrix, (n, K) or (K, n).
        where: what the array is, for messages.
        transposed: whether a one-hot matrix has its pairs in columns; None finds out.

    Raises:
        DataError: it is none of these, holds no label, or numbers that are not whole.
    """
    if array.size == 0:
        raise DataError(f"{where} is empty, of shape {array.shape}; expected one label a pair")
    if array.ndim > 2 or array.ndim == 0:
        raise DataError(f"{where} has shape {array.shape}; expected one number a pair, or a one-hot matrix")
    if array.ndim == 1 or 1 in array.shape:
        return LabelColumn(_whole(array.reshape(-1), where))
    if transposed is None:
        fits = [_is_one_hot(array), _is_one_hot(array.T)]
        if all(fits):
            raise DataError(
                f"{where} is one-hot by rows and by columns alike; say which of them are the pairs by "
                "transposed: false or true"
            )
        transposed = fits[1]
    matrix = array.T if transposed else array  # (n, K)
    if not _is_one_hot(matrix):
        ones = ((matrix == 0) | (matrix == 1)).all(axis=1) & (matrix.sum(axis=1) == 1)
        raise DataError(
            f"{where} has shape {array.shape} but is not one-hot: row {int(np.argmin(ones))} has not a "
            "single 1 among zeros; expected one class a pair"
        )
    return LabelColumn(matrix.argmax(axis=1).astype(np.int64), matrix.shape[1])


def _is_one_hot(matrix: npt.NDArray[Any]) -> bool:
    return bool(((matrix == 0) | (matrix == 1)).all() and (matrix.sum(axis=1) == 1).all())


def _whole(values: npt.NDArray[Any], where: str) -> IntArray:
    if values.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(values) | (values != np.floor(values)) | (np.abs(values) > 2**53))
        if bad.size:
            raise DataError(
                f"{where} has labels that are no whole numbers: {values[bad[0]]} at row {bad[0]}"
                f"{f' and {bad.size - 1} more' if bad.size > 1 else ''}; expected classes such as 0, 1, 2"
            )
    return values.astype(np.int64)


def read_label_list(path: Path, column: int = -1) -> LabelColumn:
    """Read labels out of a text file, one pair a line, in the order of the features.

    Args:
        path: UTF-8 text; columns are separated by tabs, or by blanks where there is no tab.
        column: which column has the class: 0 the first, -1 the last.

    Raises:
        DataError: the file cannot be read, is empty, or a line has no whole number there.
    """
    numbers = []
    for line_number, line in enumerate(read_lines(path), start=1):
        fields = line.split("\t") if "\t" in line else line.split()
        try:
            numbers.append(int(fields[column]))
        except (ValueError, IndexError) as error:
            raise DataError(
                f"{path} has no class in column {column} of line {line_number}, {line[:60]!r}; expected a "
                "whole number there, or name another column by label_column"
            ) from error
    return LabelColumn(np.array(numbers, dtype=np.int64))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, blank ones at the end left out.

    Raises:
        DataError: the file is missing, no text, or empty.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; expected a text file with one entry a line") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text; expected one entry a line") from error
    if not lines:
        raise DataError(f"{path} is empty; expected one entry a line")
    return lines


def read_class_names(path: Path) -> tuple[str, ...]:
    """Names of the classes, one a line, the first class first.

    Raises:
        DataError: the file cannot be read, a line is blank or a name comes twice.
    """
    names = tuple(line.strip() for line in read_lines(path))
    for number, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"line {number} of {path} is blank; expected the name of a class on each line")
        if name in names[: number - 1]:
            raise DataError(f"{path} names the class {name!r} twice; expected each class once")
    return names


def first_class(train: LabelColumn, n_classes: int | None, base: Base, where: str) -> int:
    """The number the first class is written as.

    Args:
        train: labels of the training pairs.
        n_classes: how many classes there are; None where only the labels can tell.
        base: 0 or 1 where it is known; ``auto`` finds out: every class has a training pair, so a 0, or the
            number of classes itself, tells.
        where: what the labels are, for messages.

    Returns:
        0 or 1.

    Raises:
        DataError: it cannot be told, or all labels are the same.
    """
    low, high = int(train.numbers.min()), int(train.numbers.max())
    if low == high:
        raise DataError(
            f"all {len(train.numbers)} labels of {where} are of one class; expected at least two classes"
        )
    if train.width is not None:
        return 0  # columns are counted from 0 by ourselves, whatever the file's own numbers are
    if base != "auto":
        return base
    if low == 0:
        return 0
    if (low >= 1 and high == n_classes) or (low == 1 and n_classes is None):
        return 1
    known = "" if n_classes is None else f" for {n_classes} classes"
    raise DataError(
        f"{where} has labels {low}..{high}{known}, so it cannot be told whether classes are counted from 0 "
        "or from 1; check them, or state label_base"
    )


def check_training_classes(labels: IntArray, names: tuple[str, ...]) -> None:
    """Make sure that every class has a training pair.

    Args:
        labels: (n,) classes of the training pairs, counted from 0.
        names: of all classes.

    Raises:
        DataError: one has none.
    """
    n_classes = len(names)
    missing = np.flatnonzero(np.bincount(labels, minlength=n_classes) == 0)
    if missing.size:
        shown = ", ".join(f"{k} ({names[k]})" for k in missing[:NAMED])
        raise DataError(
            f"{missing.size} of {n_classes} classes have no training pair: {shown}"
            f"{', ...' if missing.size > NAMED else ''}; give each class at least one, or number the classes "
            "without gaps"
        )


def check_range(labels: IntArray, n_classes: int, first: int, where: str) -> None:
    """Make sure that each label is one of the classes.

    Args:
        labels: (n,) classes, counted from 0.
        n_classes: how many classes there are.
        first: the number the first class is written as, for messages.
        where: what the labels are, for messages.

    Raises:
        DataError: some are not; their rows are named.
    """
    bad = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if bad.size:
        shown = ", ".join(f"{labels[row] + first} at row {row}" for row in bad[:NAMED])
        raise DataError(
            f"{where} has {bad.size} labels outside {first}..{n_classes - 1 + first}: {shown}"
            f"{', ...' if bad.size > NAMED else ''}; expected one of {n_classes} classes"
        )
