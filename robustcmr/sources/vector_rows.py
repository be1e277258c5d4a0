"""Where rows of vectors are kept, and how any of them are read: files of arrays, or a column of a source."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from robustcmr.errors import DataError
from robustcmr.sources.array_files import ArrayPart, release
from robustcmr.sources.records import Shard, Source
from robustcmr.types import FloatArray, IntArray

MAPPED = 64
"""Files that are mapped into memory at a time."""

SCATTERED = 4096
"""Rows read before their pages are dropped from memory; a row that stands alone takes 64 KiB of them."""


class Rows(Protocol):
    """Rows of vectors of one width."""

    @property
    def count(self) -> int:
        """Number of rows."""

    @property
    def width(self) -> int:
        """Numbers a row."""

    def take(self, at: IntArray) -> FloatArray:
        """Return rows ``at`` (n,) in any order as (n, D); NaN where -1, and where a row is not there."""


@dataclass(frozen=True)
class Place:
    """A run of rows, and the array that holds them.

    Attributes:
        rows: how many.
        part: the array; None where the rows have no vectors.
    """

    rows: int
    part: ArrayPart | None


class FileRows:
    """Rows of arrays that follow one another.

    Args:
        places: in order, arrays of (n, D) or (n, 1, D) floats of one width, at least one of them.

    Raises:
        DataError: an array has another shape, type or width.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = tuple(places)
        parts = [place.part for place in places if place.part is not None]
        self.width = check_vectors(parts[0])
        for part in parts[1:]:
            if (width := check_vectors(part)) != self.width:
                raise DataError(
                    f"{part.name} has vectors of {width} numbers, and {parts[0].name} of {self.width}; "
                    "give vectors of one model"
                )
        self._starts = np.cumsum([0] + [place.rows for place in places])
        self.count = int(self._starts[-1])
        self._open: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": OrderedDict()}  # another process opens the files itself

    def take(self, at: IntArray) -> FloatArray:
        """See :meth:`Rows.take`."""
        found = np.full((len(at), self.width), np.nan, np.float32)
        order = np.argsort(at, kind="stable")
        ascending = at[order]
        cuts = np.searchsorted(ascending, self._starts)
        for number, (place, first, last) in enumerate(zip(self.places, cuts, cuts[1:], strict=False)):
            if first == last or place.part is None:
                continue
            rows = ascending[first:last] - self._starts[number]
            held = int(np.searchsorted(rows, place.part.held))  # later ones are cut off
            for start in range(0, held, SCATTERED):
                part = slice(start, min(start + SCATTERED, held))
                array = self._array(number, place.part)
                with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond float32 becomes infinite
                    found[order[first:last][part]] = _rows(array, rows[part])
                release(array)
        return found

    def _array(self, number: int, part: ArrayPart) -> npt.NDArray[Any]:
        if number not in self._open:
            most = 1 if part.offset is None else MAPPED  # unpacked arrays take memory
            while len(self._open) >= most:
                self._open.popitem(last=False)
            array = part.load()
            self._open[number] = array
        self._open.move_to_end(number)
        return self._open[number]


def _rows(array: npt.NDArray[Any], rows: IntArray) -> npt.NDArray[Any]:
    """Return ascending rows as (n, D); a slice where they follow one another, which is read faster."""
    whole = rows[-1] - rows[0] + 1 == len(rows) and bool((np.diff(rows) == 1).all())
    part = array[rows[0] : rows[-1] + 1] if whole else array[rows]
    return np.asarray(part).reshape(len(rows), -1)


def check_vectors(part: ArrayPart) -> int:
    """Return the width of vectors (n, D) or (n, 1, D).

    Raises:
        DataError: the array is no such, or not of floats.
    """
    shape = part.shape
    flat = len(shape) == 2 or (len(shape) == 3 and shape[1] == 1)
    if not flat or shape[-1] == 0:
        raise DataError(
            f"{part.name} has shape {shape}; expected one vector a row, such as ({shape[0]}, 512)"
        )
    if part.dtype.kind != "f" or part.dtype.itemsize > 8:
        raise DataError(
            f"{part.name} holds {part.dtype}; expected float16, float32 or float64, as numpy.save writes "
            "vectors.astype('float16')"
        )
    return int(shape[-1])


class ColumnRows:
    """Rows of a column of a source that holds lists of numbers.

    Args:
        source: read in order for every :meth:`take`, from the first row asked for to the last of a file.
        column: its name.
        counts: rows of each shard.

    Raises:
        DataError: the column holds something else.
    """

    def __init__(self, source: Source, column: str, counts: Sequence[int]) -> None:
        self._source, self._column = source, column
        self._starts = np.cumsum([0, *counts])
        self.count = int(self._starts[-1])
        kind = source.schema().field(column).type
        if not is_vectors(kind):
            raise DataError(
                f"the column {column} of {source.root} holds {kind}; expected lists of numbers, one vector a "
                "row"
            )
        self.width = self._width(kind)

    def _width(self, kind: pa.DataType) -> int:
        if pa.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        for shard in self._source.shards:
            for _, values in self._batches(shard, 0):
                for value in values:
                    if value.is_valid and len(value):
                        return len(value)
        raise DataError(f"the column {self._column} of {self._source.root} is empty; choose another column")

    def _batches(self, shard: Shard, start: int) -> Iterator[tuple[int, pa.Array]]:
        """Yield runs of the column with the row of their first value, from ``start`` on."""
        for batch in self._source.narrow(shard, start, (self._column,)):
            yield start, batch.column(self._column)
            start += len(batch)

    def take(self, at: IntArray) -> FloatArray:
        """See :meth:`Rows.take`."""
        found = np.full((len(at), self.width), np.nan, np.float32)
        order = np.argsort(at, kind="stable")
        ascending = at[order]
        cuts = np.searchsorted(ascending, self._starts)
        for number, (shard, first, last) in enumerate(zip(self._source.shards, cuts, cuts[1:], strict=False)):
            wanted = ascending[first:last] - self._starts[number]
            if not len(wanted):
                continue
            done = 0
            for row, values in self._batches(shard, int(wanted[0])):
                here = int(np.searchsorted(wanted, row + len(values)))
                if here > done:
                    vectors = as_vectors(values, self.width)
                    found[order[first + done : first + here]] = vectors[wanted[done:here] - row]
                    done = here
                if done == len(wanted):
                    break
        return found


def is_vectors(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds lists of numbers."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists:
        return False
    inner = kind.value_type
    return bool(pa.types.is_floating(inner) or pa.types.is_integer(inner) or pa.types.is_null(inner))


def as_vectors(values: pa.Array, width: int) -> FloatArray:
    """Return lists of numbers as (n, width); rows that are null or of another width as NaN.

    Example:
        >>> as_vectors(pa.array([[1.0, 2.0], None, [3.0]]), 2)
        array([[ 1.,  2.],
               [nan, nan],
               [nan, nan]], dtype=float32)
    """
    found = np.full((len(values), width), np.nan, np.float32)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    lengths = np.array(values.value_lengths().fill_null(-1)) if len(values) else np.empty(0, np.int64)
    fits = lengths == width
    kept = values.filter(pa.array(fits))
    with np.errstate(over="ignore", invalid="ignore"):
        flat = kept.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    found[fits] = flat.reshape(-1, width)
    return found
