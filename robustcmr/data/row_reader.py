"""Rows of a file read by position, so that what was read never counts as memory of the process."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.errors import DataError
from robustcmr.types import IntArray

POSITIONAL = hasattr(os, "preadv")
"""Whether the system reads at a position into several buffers; elsewhere memory maps are opened."""

ADVISES = hasattr(os, "posix_fadvise")
LONG_BYTES = 2**20

MOST_BUFFERS = 512  # in one call; POSIX systems allow 1024


@dataclass(frozen=True)
class RowLayout:
    """Where rows of equal size lie in a file.

    Attributes:
        path: the file.
        offset: bytes before the first row.
        shape: (rows, ...).
        dtype: number type.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize


class RowReader:
    """Reads rows straight to where they are wanted; threads and forked processes may share one.

    Pages touched through a memory map count as resident until the map is closed, and a page fault brings in
    its neighbours too; reading by position leaves the pages to the operating system's cache.

    Args:
        layout: of the rows.

    Raises:
        DataError: the file cannot be opened.
    """

    def __init__(self, layout: RowLayout) -> None:
        self.layout = layout
        self._descriptor = -1
        if POSITIONAL:
            try:
                self._descriptor = os.open(layout.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            except OSError as error:
                raise DataError(f"cannot open {layout.path}: {error.strerror or error}") from error
            weakref.finalize(self, os.close, self._descriptor).atexit = False

    def read(self, rows: IntArray) -> npt.NDArray[Any]:
        """Copy some rows, each read once and in the order of the file, neighbours together.

        Args:
            rows: (k,) rows of the file, in any order, repeats allowed.

        Returns:
            (k, ...) in the file's number type, in the order asked for.

        Raises:
            DataError: the file became shorter or cannot be read.
        """
        out = np.empty((len(rows), *self.layout.shape[1:]), self.layout.dtype)
        if not len(rows):
            return out
        distinct, places, back = np.unique(rows, return_index=True, return_inverse=True)
        if POSITIONAL:
            self._read_at(out, distinct, places)
        else:
            out[places] = self._mapped()[distinct]
        if len(distinct) < len(rows):
            repeated = np.flatnonzero(places[back] != np.arange(len(rows)))
            out[repeated] = out[places[back[repeated]]]
        return out

    def _read_at(self, out: npt.NDArray[Any], rows: IntArray, places: IntArray) -> None:
        """Read ascending rows to their places in ``out``."""
        size, target = self.layout.row_bytes, out.reshape(-1).view(np.uint8).data
        apart = np.diff(rows) != 1
        # pieces lie together in the file and in the output; a stretch of pieces lies together in the file
        pieces = _starts(apart | (np.diff(places) != 1))
        begins = np.concatenate([[True], apart])[pieces]
        number = np.arange(len(pieces))
        within = number - np.maximum.accumulate(np.where(begins, number, 0))
        stretches = np.flatnonzero(within % MOST_BUFFERS == 0)
        positions = self.layout.offset + rows[pieces[stretches]] * size
        lengths = np.diff(pieces[stretches], append=len(rows)) * size
        if (
            ADVISES
        ):  # the disk fetches short stretches at the same time; long ones the system reads ahead best
            short = lengths <= LONG_BYTES
            for position, length in zip(positions[short].tolist(), lengths[short].tolist(), strict=True):
                os.posix_fadvise(self._descriptor, position, length, os.POSIX_FADV_WILLNEED)
        into = places[pieces] * size
        ends = (into + np.diff(pieces, append=len(rows)) * size).tolist()
        buffers = [target[start:end] for start, end in zip(into.tolist(), ends, strict=True)]
        cuts = [*stretches.tolist(), len(buffers)]
        try:
            for (first, last), position, length in zip(
                pairwise(cuts), positions.tolist(), lengths.tolist(), strict=True
            ):
                done = os.preadv(self._descriptor, buffers[first:last], position)
                if done < length:  # a read may stop anywhere
                    self._go_on(buffers[first:last], position, done)
        except OSError as error:
            raise DataError(f"cannot read {self.layout.path}: {error.strerror or error}") from error

    def _go_on(self, buffers: list[memoryview], position: int, done: int) -> None:
        """Read the rest of a stretch of which the first ``done`` bytes are there."""
        while True:
            position += done
            while buffers and done >= len(buffers[0]):
                done -= len(buffers[0])
                buffers = buffers[1:]
            if not buffers:
                return
            buffers = [buffers[0][done:], *buffers[1:]]
            done = os.preadv(self._descriptor, buffers, position)
            if done == 0:
                raise DataError(
                    f"{self.layout.path} became shorter while it was read; leave the file alone during a run"
                )

    def _mapped(self) -> npt.NDArray[Any]:
        layout = self.layout
        try:
            mapped = np.memmap(layout.path, layout.dtype, "r", layout.offset, layout.shape)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot map {layout.path} into memory: {error}") from error
        return np.asarray(mapped)


def _starts(breaks: npt.NDArray[np.bool_]) -> IntArray:
    """Where runs begin, the first at 0, from whether there is a break between each entry and the next."""
    return np.flatnonzero(np.concatenate([[True], breaks]))
