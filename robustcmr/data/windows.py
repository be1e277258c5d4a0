"""Random batches out of a large file read in long stretches: pairs are shuffled window by window.

A window is made of stretches of neighbouring images from all over the file, and is held in memory while its
pairs are used. So a batch holds pairs of many distant places, and still every image is read once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustcmr.data.base import FeatureStore
from robustcmr.types import FloatArray, IntArray

STRETCH_BYTES = 4 * 2**20
WINDOW_BYTES = 256 * 2**20
"""Size of a window as float32. Smaller data is one window: its pairs are shuffled as a whole."""

LEAST_PARTS = 2  # of a window, else its batches would not be random


def shuffled_windows(
    given: IntArray, n_parts: int, stretch: int, window: int, generator: np.random.Generator
) -> list[list[IntArray]]:
    """All pairs in random parts, as even as possible, of windows that each read a share of the images.

    It follows from the arguments alone, wherever the features stay.

    Args:
        given: (N,) the image given to each pair.
        n_parts: parts to make, 1..N.
        stretch: neighbouring images that are read together, at least 1.
        window: images of a window, about; at least 1.
        generator: source of chance.

    Returns:
        Windows of parts, each (k,) pair ids. A single window holds one permutation of all pairs.
    """
    images = int(given.max()) + 1
    per_window = max(LEAST_PARTS, round(n_parts * window / images))
    if per_window >= n_parts:
        return [np.array_split(generator.permutation(len(given)), n_parts)]
    turn = generator.permutation(-(-images // stretch))  # when each stretch is read
    order = np.argsort(turn[given // stretch], kind="stable")
    parts = np.array_split(order, n_parts)
    windows = []
    for first in range(0, n_parts, per_window):
        inside = parts[first : first + per_window]
        mixed = generator.permutation(np.concatenate(inside))
        windows.append(np.split(mixed, np.cumsum([len(part) for part in inside])[:-1]))
    return windows


class WindowFeatures:
    """Some entries of a store, read at once and held.

    Args:
        store: (n, R, F).
        rows: (k,) entries to hold, in any order, repeats allowed.
    """

    def __init__(self, store: FeatureStore, rows: IntArray) -> None:
        self._shape = store.shape
        self._rows: npt.NDArray[np.int64] = np.unique(rows)
        self._numbers = store.take(self._rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, R, F) of the whole store."""
        return self._shape

    def take(self, images: IntArray) -> FloatArray:
        """Some of the entries held, (k, R, F) float32, in the order asked for; repeats allowed.

        Raises:
            IndexError: one of them is not held.
        """
        places = np.searchsorted(self._rows, images)
        if not np.array_equal(self._rows[np.minimum(places, len(self._rows) - 1)], images):
            raise IndexError("an image was asked for that lies outside of the window")
        return self._numbers[places]
