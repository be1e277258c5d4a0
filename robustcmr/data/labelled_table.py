"""Three columns that belong together: image vectors, text vectors and classes, out of files of any layout."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.label_columns import NAMED, LabelColumn, column_of, read_label_list
from robustcmr.data.labelled_files import read_array
from robustcmr.data.store import non_finite_images
from robustcmr.errors import DataError
from robustcmr.types import IntArray

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Place:
    """Where an array is: a file and the name in it."""

    file: Path
    key: str

    def __str__(self) -> str:
        return f"{self.key!r} of {self.file}"


@dataclass(frozen=True)
class TextList:
    """Where labels are: a text file and the column in it."""

    file: Path
    column: int

    def __str__(self) -> str:
        return str(self.file)


@dataclass(frozen=True)
class Table:
    """Where the columns of a split, or of all splits together, are."""

    image: Place
    text: Place
    label: Place | TextList


@dataclass(frozen=True)
class Columns:
    """The columns as read; n pairs.

    Attributes:
        images: (n, F) numbers, in memory or mapped.
        texts: (n, V) numbers, likewise.
        labels: n labels as written.
    """

    images: Array
    texts: Array
    labels: LabelColumn

    def __len__(self) -> int:
        return len(self.labels.numbers)


def read_table(table: Table, transposed: bool | None) -> Columns:
    """Read the three columns of a table and lay one pair a row.

    Args:
        table: where they are.
        transposed: whether the arrays have their pairs in columns; None finds out by the number of labels.

    Raises:
        DataError: a file is missing or damaged, or the columns do not fit each other.
    """
    labels = read_labels(table, transposed)
    n = len(labels.numbers)
    arrays = {"image": (table.image, read_array(table.image.file, table.image.key))}
    arrays["text"] = (table.text, read_array(table.text.file, table.text.key))
    for place, array in arrays.values():
        if array.ndim != 2 or 0 in array.shape:
            raise DataError(f"{place} has shape {array.shape}; expected (pairs, numbers a vector)")
    flips = {}
    for name, (place, array) in arrays.items():
        flips[name] = _flip(array, n, transposed, place, str(table.label))
    # a square array fits both ways; the other one then tells how the file is laid out
    known = next((flip for flip in flips.values() if flip is not None), None)
    if known is None:
        raise DataError(
            f"{table.image} and {table.text} are both {n}x{n}; say whether their pairs are columns by "
            "transposed: true or false"
        )
    columns = []
    for name, (place, array) in arrays.items():
        flip = flips[name]
        turned = array
        if known if flip is None else flip:
            turned = np.ascontiguousarray(np.asarray(array).T)
        size = f"{turned.shape[0]} x {turned.shape[1]} {turned.dtype}"
        if isinstance(turned, np.memmap):
            logger.info("mapped %s vectors from %s, %s", name, place.file, size)
        else:
            logger.info(
                "loaded %s vectors from %s, %s, %.1f MiB", name, place.file, size, turned.nbytes / 2**20
            )
        columns.append(turned)
    return Columns(columns[0], columns[1], labels)


def read_labels(table: Table, transposed: bool | None) -> LabelColumn:
    """Read only the labels of a table.

    Raises:
        DataError: the file is missing or damaged, or holds no labels.
    """
    if isinstance(table.label, TextList):
        return read_label_list(table.label.file, table.label.column)
    return column_of(read_array(table.label.file, table.label.key), str(table.label), transposed)


def _flip(array: Array, n: int, transposed: bool | None, place: Place, labels: str) -> bool | None:
    """Whether an array must be turned to have n rows; None where both ways fit."""
    fits = {flip for flip in (False, True) if array.shape[int(flip)] == n}
    if transposed is not None:
        fits &= {transposed}
    if not fits:
        stated = "" if transposed is None else f", with transposed: {str(transposed).lower()},"
        raise DataError(
            f"{place} has shape {array.shape[0]}x{array.shape[1]}{stated} but {labels} has {n} labels; "
            "expected one vector a label"
        )
    return None if len(fits) == 2 else fits.pop()


def store_of(
    array: Array, rows: IntArray | None, what: Literal["image", "text"], split: str, place: Place
) -> ArrayFeatures:
    """Some rows of a column as a feature store, made sure to be finite.

    Raises:
        DataError: numbers are NaN, infinite, or too large for float32; their rows are named.
    """
    store = ArrayFeatures(array, rows)
    bad = [row for row, _ in non_finite_images(store)]
    if bad:
        shown = ", ".join(str(row) for row in bad[:NAMED])
        raise DataError(
            f"{len(bad)} of {store.shape[0]} {what} vectors of the {split} split hold NaN or infinity: rows "
            f"{shown}{', ...' if len(bad) > NAMED else ''} of {place}; repair or leave out these pairs"
        )
    return store
