"""Region features in a ``.npy`` file that stays on disk: only the rows asked for are ever read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from robustcmr.data.base import FeatureStore
from robustcmr.data.row_reader import RowLayout, RowReader
from robustcmr.errors import DataError
from robustcmr.types import FloatArray, IntArray


class NpyFeatures:
    """Features of all images of a split, kept on disk as one array and read row by row.

    A copy made by pickling opens the file anew, so that data-loading processes share nothing but the file.

    Args:
        path: a ``.npy`` file of (rows, R, F), or (rows, F) for one vector an image; float16 or float32.
        repeats: rows each image takes, one after another; the first of them is read.

    Raises:
        DataError: the file is missing, truncated, no ``.npy`` file, empty, of another type or number of
            dimensions, or stored column by column; or its rows are no multiple of ``repeats``.
    """

    def __init__(self, path: Path, repeats: int = 1) -> None:
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        self._path = Path(path)
        self._repeats = repeats
        self._offset, stored, self._dtype = _read_header(self._path)
        # (rows, F) -> (rows, 1, F)
        self._rows, self._regions, self._width = stored if len(stored) == 3 else (stored[0], 1, stored[1])
        if self._rows % repeats:
            raise DataError(
                f"{self._path} has {self._rows} rows, which is no multiple of {repeats}; "
                f"expected every image to be stored {repeats} times"
            )
        self._reader = RowReader(
            RowLayout(self._path, self._offset, (self._rows, self._regions, self._width), self._dtype)
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_images, R, F)."""
        return self._rows // self._repeats, self._regions, self._width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type in the file; ``take`` always gives float32."""
        return self._dtype

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def rows(self) -> int:
        """Rows in the file: images times ``repeats``."""
        return self._rows

    @property
    def repeats(self) -> int:
        """Rows each image takes."""
        return self._repeats

    def take(self, images: IntArray) -> FloatArray:
        """Read some images.

        Args:
            images: (k,) image indices in 0..n_images-1, in any order, repeats allowed.

        Returns:
            (k, R, F) float32, in the order asked for.

        Raises:
            IndexError: an index lies outside 0..n_images-1.
        """
        wanted = np.asarray(images, dtype=np.int64)
        if wanted.ndim != 1:
            raise ValueError(f"images must be a vector of indices, got shape {wanted.shape}")
        if wanted.size and (wanted.min() < 0 or wanted.max() >= self.shape[0]):
            raise IndexError(f"images must lie in 0..{self.shape[0] - 1}, got {wanted.min()}..{wanted.max()}")
        return to_float32(self._reader.read(wanted * self._repeats))

    def block(self, first: int, last: int) -> npt.NDArray[np.floating[Any]]:
        """Copy images ``first`` to ``last`` (exclusive) in the file's number type, (last - first, R, F).

        A walk through the file in blocks needs the memory of one.
        """
        return self._reader.read(np.arange(first, last, dtype=np.int64) * self._repeats)

    def __reduce__(self) -> tuple[Callable[..., NpyFeatures], tuple[Path, int]]:
        return NpyFeatures, (self._path, self._repeats)

    def __repr__(self) -> str:
        return f"NpyFeatures({str(self._path)!r}, shape={self.shape}, dtype={self._dtype})"


def to_float32(array: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """The same numbers as float32; not copied where they are already."""
    if array.dtype == np.float16 and array.dtype.isnative:
        # torch widens half precision several times faster than NumPy, to the same values
        widened: FloatArray = torch.from_numpy(array).float().numpy()
        return widened
    return array.astype(np.float32, copy=False)


def _read_header(path: Path) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
    """Where the numbers of a ``.npy`` file start, their shape and type; all of it checked."""
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = _parse_header(file, path)
            offset = file.tell()
            size = path.stat().st_size
    except FileNotFoundError as error:
        raise DataError(
            f"there is no feature file {path}; expected a .npy array of (rows, regions, width)"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read the feature file {path}: {error.strerror or error}") from error
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
    promised = offset + math.prod(shape) * dtype.itemsize
    if size < promised:
        raise DataError(
            f"{path} is truncated: its header promises {promised} bytes but the file has {size}; "
            "copy it again"
        )
    return offset, shape, dtype


def _parse_header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        return np.lib.format.read_array_header_2_0(file)
    except ValueError as error:
        raise DataError(f"{path} is not a readable .npy file: {str(error).splitlines()[0]}") from error


def iterate_blocks(
    store: FeatureStore, chunk_rows: int = 256
) -> Iterator[tuple[int, npt.NDArray[np.floating[Any]]]]:
    """Walk through all images of a store in blocks, with the memory of one block.

    Args:
        store: any feature store.
        chunk_rows: images a block, at least 1.

    Yields:
        The index of the first image of the block, and the block, (<= chunk_rows, R, F).
    """
    if chunk_rows < 1:
        raise ValueError(f"chunk_rows must be at least 1, got {chunk_rows}")
    n_images = store.shape[0]
    for first in range(0, n_images, chunk_rows):
        last = min(first + chunk_rows, n_images)
        if isinstance(store, NpyFeatures):
            yield first, store.block(first, last)
        else:
            yield first, store.take(np.arange(first, last, dtype=np.int64))


def find_non_finite(chunk: npt.NDArray[np.floating[Any]]) -> IntArray:
    """Count the regions of each image that hold a NaN or an infinity.

    Args:
        chunk: (k, R, F) features.

    Returns:
        (k,) int64, 0 where all numbers are finite.
    """
    damaged: IntArray = (~np.isfinite(chunk).all(axis=-1)).sum(axis=-1, dtype=np.int64)
    return damaged


def first_non_finite(store: FeatureStore, chunk_rows: int = 256, limit: int = 10) -> list[tuple[int, int]]:
    """Find images with a NaN or an infinity, reading the store in blocks and stopping at the limit.

    Args:
        store: any feature store.
        chunk_rows: images read at a time, at least 1.
        limit: most images to name, at least 1.

    Returns:
        (image, number of its regions that are not finite), in order of images; empty where all is finite.
    """
    found: list[tuple[int, int]] = []
    for first, chunk in iterate_blocks(store, chunk_rows):
        damaged = find_non_finite(chunk)  # (k,)
        found.extend((first + int(i), int(damaged[i])) for i in np.flatnonzero(damaged))
        if len(found) >= limit:
            break
    return found[:limit]
