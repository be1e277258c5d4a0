"""Feature vectors that were loaded as a whole, or lie uncompressed inside a larger file and are mapped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.types import FloatArray, IntArray

logger = logging.getLogger(__name__)

BLOCK_ROWS = 1024


class ArrayFeatures:
    """One vector an item, out of an array in memory or a memory map.

    A map is opened anew by a copy made by pickling; an array in memory is copied.

    Args:
        array: (rows, F) numbers.
        rows: (n,) rows that are the items, in their order; None takes all.
    """

    def __init__(self, array: npt.NDArray[Any], rows: IntArray | None = None) -> None:
        self._array = array
        self._rows = rows

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, 1, F)."""
        n = self._array.shape[0] if self._rows is None else len(self._rows)
        return n, 1, self._array.shape[1]

    @property
    def mapped(self) -> bool:
        """Whether the numbers stay on disk until asked for."""
        return isinstance(self._array, np.memmap)

    def take(self, images: IntArray) -> FloatArray:
        """Some vectors.

        Args:
            images: (k,) items in 0..n-1, in any order, repeats allowed.

        Returns:
            (k, 1, F) float32, in the order asked for.

        Raises:
            ValueError: ``images`` is no vector.
            IndexError: an item lies outside 0..n-1.
        """
        wanted = np.asarray(images, dtype=np.int64)
        if wanted.ndim != 1:
            raise ValueError(f"images must be a vector of indices, got shape {wanted.shape}")
        n = self.shape[0]
        if wanted.size and (wanted.min() < 0 or wanted.max() >= n):
            raise IndexError(f"images must lie in 0..{n - 1}, got {wanted.min()}..{wanted.max()}")
        if self._rows is not None:
            wanted = self._rows[wanted]
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported then
            taken: FloatArray = np.asarray(self._array[wanted]).astype(np.float32, copy=False)
        return taken[:, None, :]

    def __reduce__(self) -> tuple[Callable[..., ArrayFeatures], tuple[Any, ...]]:
        array = self._array
        if isinstance(array, np.memmap) and array.filename is not None:
            place = (Path(array.filename), array.dtype, array.offset, array.shape)
            return _open_again, (*place, self._rows)
        return ArrayFeatures, (array, self._rows)


def _open_again(
    path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, int], rows: IntArray | None
) -> ArrayFeatures:
    return ArrayFeatures(np.memmap(path, dtype, "r", offset, shape), rows)


def rows_not_finite(store: ArrayFeatures) -> list[int]:
    """Items with a NaN, an infinity or a number float32 cannot hold, read in blocks."""
    n = store.shape[0]
    found: list[int] = []
    for first in range(0, n, BLOCK_ROWS):
        block = store.take(np.arange(first, min(first + BLOCK_ROWS, n), dtype=np.int64))  # (k, 1, F)
        found.extend((first + np.flatnonzero(~np.isfinite(block).all(axis=(1, 2)))).tolist())
    return found
