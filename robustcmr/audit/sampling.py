"""A sample of pairs by a hash of where each stands in its source, so that pieces do not matter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustcmr.types import IntArray

Hash = npt.NDArray[np.uint64]


def row_hash(
    shard: npt.NDArray[np.integer], row: npt.NDArray[np.integer], part: npt.NDArray[np.integer], seed: int
) -> Hash:
    """Return a pseudo-random 64-bit number for each pair (n,), by SplitMix64 (Steele et al. 2014)."""
    state = np.full(len(row), np.uint64(seed % 2**64))
    for values in (shard, row, part):
        state = _mixed(state ^ values.astype(np.uint64))
    return state


def _mixed(state: Hash) -> Hash:
    z = state + np.uint64(0x9E3779B97F4A7C15)  # wraps, as meant
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: Hash = z ^ (z >> np.uint64(31))
    return result


class Smallest:
    """Keeps the numbers of the pairs with the smallest hashes, in bounded memory.

    Args:
        size: of the sample, >= 1.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._hashes: Hash = np.empty(0, np.uint64)
        self._numbers: IntArray = np.empty(0, np.int64)

    def add(self, hashes: Hash, numbers: IntArray) -> None:
        """Offer pairs."""
        if len(self._hashes) == self._size:
            small = hashes < self._hashes.max()
            hashes, numbers = hashes[small], numbers[small]
        self._hashes = np.concatenate([self._hashes, hashes])
        self._numbers = np.concatenate([self._numbers, numbers])
        if len(self._hashes) > self._size:
            kept = np.argpartition(self._hashes, self._size - 1)[: self._size]
            self._hashes, self._numbers = self._hashes[kept], self._numbers[kept]

    def numbers(self) -> IntArray:
        """Return the numbers of the sample, ascending."""
        return np.sort(self._numbers)
