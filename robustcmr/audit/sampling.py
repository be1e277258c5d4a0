"""A sample of pairs by a hash of their pictures, so that pieces do not matter and captions stay together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustcmr.types import IntArray

Hash = npt.NDArray[np.uint64]


def mixed(values: Hash) -> Hash:
    """Return a pseudo-random 64-bit number for each number (n,), by SplitMix64 (Steele et al. 2014)."""
    z = values + np.uint64(0x9E3779B97F4A7C15)  # wraps, as meant
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: Hash = z ^ (z >> np.uint64(31))
    return result


def seeded(codes: Hash, seed: int) -> Hash:
    """Return pseudo-random numbers of codes (n,) that depend on a seed; equal codes have equal ones."""
    start = mixed(np.array([seed % 2**64], np.uint64))
    return mixed(codes ^ start)


class Smallest:
    """Keeps the numbers of the pairs with the smallest hashes, pairs of one hash together.

    Args:
        size: of the sample, >= 1. Where one hash alone has more pairs, the first of them are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._hashes: Hash = np.empty(0, np.uint64)
        self._numbers: IntArray = np.empty(0, np.int64)

    def add(self, hashes: Hash, numbers: IntArray) -> None:
        """Offer pairs: hashes (n,) and ascending numbers (n,), larger than all before."""
        if len(self._hashes) >= self._size:
            small = hashes <= self._hashes.max()
            hashes, numbers = hashes[small], numbers[small]
        self._hashes = np.concatenate([self._hashes, hashes])
        self._numbers = np.concatenate([self._numbers, numbers])
        if len(self._hashes) > self._size:
            # pairs of the largest hash that fits in part stay, as the others may go
            last = np.partition(self._hashes, self._size - 1)[self._size - 1]
            kept = self._hashes < last
            ties = np.flatnonzero(self._hashes == last)[: self._size + 1]
            kept[ties] = True
            self._hashes, self._numbers = self._hashes[kept], self._numbers[kept]

    def numbers(self) -> IntArray:
        """Return the numbers of the sample, ascending."""
        kept = np.ones(len(self._hashes), np.bool_)
        if len(self._hashes) > self._size:
            whole = self._hashes < self._hashes.max()
            kept = whole if whole.any() else np.arange(len(kept)) < self._size
        return self._numbers[kept]
