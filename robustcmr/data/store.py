"""Region features in a ``.npy`` file that stays on disk: only the requested rows are read."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from noise_injection.reading import npy_header
from robustcmr.data.base import FeatureStore
from robustcmr.errors import DataError
from robustcmr.files import reason, regular_file
from robustcmr.types import FloatArray, IntArray

BLOCK_BYTES = 32 * 2**20
"""Default size of a block of :func:`iterate_blocks`, counted as float32."""


class NpyFeatures:
    """Features of all images of a split, read from a ``.npy`` file by row.

    The file is opened for each read, so threads, forked processes and pickled copies may share a store. Rows
    are read by position: pages of a memory map would count as memory of the process until it is closed.

    Args:
        path: a ``.npy`` file of shape (rows, R, F), or (rows, F) for one vector an image; float16 or float32.
        rows: (n_images,) the row of each image, where images have several rows or none; by default its index.

    Attributes:
        path: the file.
        rows: as given.
        dtype: number type of the file; ``take`` returns float32.
        shape: (n_images, R, F).

    Raises:
        DataError: the file is missing, truncated, not a ``.npy`` file, empty, in Fortran order, or of another
            type or number of dimensions.
    """

    def __init__(self, path: Path, rows: IntArray | None = None) -> None:
        self.path = Path(path)
        self._offset, stored, self.dtype = _read_header(self.path)
        # (rows, F) -> (rows, 1, F)
        n, regions, width = stored if len(stored) == 3 else (stored[0], 1, stored[1])
        self.rows = None if rows is None else checked_indices(rows, n)
        self.shape: tuple[int, int, int] = (n if rows is None else len(rows), regions, width)

    def take(self, images: IntArray) -> FloatArray:
        """Read images (k,) as (k, R, F) float32, in the requested order; repeats allowed.

        Raises:
            IndexError: an index lies outside 0..n_images-1.
            DataError: the file cannot be read or became shorter.
        """
        rows = checked_indices(images, self.shape[0])
        if self.rows is not None:
            rows = self.rows[rows]
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if len(rows):
            self._read_into(out.reshape(-1).view(np.uint8).data, rows, out[0].nbytes)
        return out.astype(np.float32, copy=False)

    def _read_into(self, target: memoryview, rows: IntArray, size: int) -> None:
        """Read rows (k,) of ``size`` bytes in ascending order, each to its place in the target."""
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        # a piece is contiguous in the file and in the target, and read by one call
        breaks = (np.diff(ascending) != 1) | (np.diff(order) != 1)
        starts = np.flatnonzero(np.concatenate([[True], breaks]))
        positions = (self._offset + ascending[starts] * size).tolist()
        lengths = (np.diff(starts, append=len(rows)) * size).tolist()
        pieces = list(zip(positions, (order[starts] * size).tolist(), lengths, strict=True))
        try:
            with self.path.open("rb", buffering=0) as file:
                if hasattr(os, "posix_fadvise") and len(pieces) > 1:  # the disk fetches them concurrently
                    for position, _, length in pieces:
                        os.posix_fadvise(file.fileno(), position, length, os.POSIX_FADV_WILLNEED)
                for position, place, length in pieces:
                    file.seek(position)
                    rest = target[place : place + length]
                    while rest:  # a read may stop early
                        done = file.readinto(rest)
                        if not done:
                            raise DataError(
                                f"{self.path} became shorter while it was read; do not change it during a run"
                            )
                        rest = rest[done:]
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {reason(error)}") from error


def checked_indices(images: IntArray, n_images: int) -> IntArray:
    """Return (k,) image indices as int64; raise ValueError or IndexError unless each is in 0..n_images-1."""
    wanted = np.asarray(images, dtype=np.int64)
    if wanted.ndim != 1:
        raise ValueError(f"images must be a vector of indices, got shape {wanted.shape}")
    if wanted.size and (wanted.min() < 0 or wanted.max() >= n_images):
        raise IndexError(f"images must lie in 0..{n_images - 1}, got {wanted.min()}..{wanted.max()}")
    return wanted


def _read_header(path: Path) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
    """Return the position of the first number of a ``.npy`` file, its shape and its type, all checked."""
    try:
        with regular_file(path) as file:
            shape, fortran, dtype = npy_header(file)
            offset, size = file.tell(), path.stat().st_size
    except OSError as error:
        raise DataError(f"cannot read the feature file {path}: {reason(error)}") from error
    except ValueError as error:
        raise DataError(f"{path} is not a readable .npy file: {str(error).splitlines()[0]}") from error
    if dtype.kind != "f" or dtype.itemsize not in (2, 4):
        raise DataError(
            f"{path} holds numbers of type {dtype}; expected float16 or float32, so save it again after "
            ".astype('float32')"
        )
    if len(shape) not in (2, 3):
        raise DataError(f"{path} has shape {shape}; expected (rows, regions, width), or (rows, width)")
    if math.prod(shape) == 0:
        raise DataError(f"{path} is empty, its shape is {shape}; expected at least one row of features")
    if fortran:
        raise DataError(f"{path} is stored column by column; save it again after numpy.ascontiguousarray")
    expected = offset + math.prod(shape) * dtype.itemsize
    if size < expected:
        raise DataError(
            f"{path} is truncated: its header promises {expected} bytes but the file has {size}; "
            "copy it again"
        )
    return offset, shape, dtype


def evenly_spaced(n: int, most: int) -> IntArray:
    """Return up to ``most`` evenly spaced indices of 0..n-1, both ends among them."""
    return np.unique(np.linspace(0, n - 1, min(most, n)).round().astype(np.int64))


def rows_within(shape: tuple[int, ...], size: int) -> int:
    """Return how many rows of shape (n, R, F) fit in ``size`` bytes as float32, at least 1."""
    return max(1, size // (4 * shape[1] * shape[2]))


def iterate_blocks(store: FeatureStore, chunk_rows: int | None = None) -> Iterator[tuple[int, FloatArray]]:
    """Yield blocks of (<= chunk_rows, R, F) float32 in order, each with the index of its first image.

    By default a block takes ``BLOCK_BYTES``.
    """
    chunk_rows = rows_within(store.shape, BLOCK_BYTES) if chunk_rows is None else chunk_rows
    for first in range(0, store.shape[0], chunk_rows):
        last = min(first + chunk_rows, store.shape[0])
        yield first, store.take(np.arange(first, last, dtype=np.int64))


def count_non_finite(block: FloatArray) -> IntArray:
    """Count the regions of each image that hold NaN or infinity, (k, R, F) -> (k,) int64."""
    damaged: IntArray = (~np.isfinite(block).all(axis=-1)).sum(axis=-1, dtype=np.int64)
    return damaged


def non_finite_images(store: FeatureStore) -> list[tuple[int, int]]:
    """List the images that hold NaN or infinity, in order, each with its number of such regions."""
    return [
        (first + row, regions)
        for first, block in iterate_blocks(store)
        for row, regions in enumerate(count_non_finite(block).tolist())
        if regions
    ]
