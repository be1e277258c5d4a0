"""Feature vectors of an array in memory, or of a memory map of an array inside a larger file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.data.store import checked_indices
from robustcmr.types import FloatArray, IntArray


class ArrayFeatures:
    """One vector an item, from an array (rows, F) in memory or a memory map: of the given rows (n,), or all.

    A pickled copy reopens a map, and copies an array in memory.
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
        """Whether the numbers stay on disk until they are requested."""
        return isinstance(self._array, np.memmap)

    def take(self, images: IntArray) -> FloatArray:
        """Read vectors (k,) as (k, 1, F) float32, in the requested order; repeats allowed."""
        wanted = checked_indices(images, self.shape[0])
        if self._rows is not None:
            wanted = self._rows[wanted]
        with np.errstate(over="ignore"):  # too large for float32: infinite, which is reported later
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
