"""Signatures of vectors by random hyperplanes, and pairs of rows whose signatures start alike.

A bit of a signature says on which side of a random hyperplane a vector lies. Two vectors at the angle a agree
in a bit with the probability 1 - a / pi (Charikar, 2002). All planes pass through the middle of the vectors:
the vectors of most models lie in a narrow cone, where planes through the origin would not part them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustcmr.types import FloatArray, IntArray

BITS = 32
"""Bits of a signature."""

Signatures = npt.NDArray[np.uint32]

_ONES = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


@dataclass(frozen=True)
class Planes:
    """Random hyperplanes through the middle of some vectors.

    Attributes:
        normals: (D, tables * BITS).
        offsets: (tables * BITS,) median of the vectors along each normal.
        radius: distance from the mean that 95% of the vectors exceed.
    """

    normals: FloatArray
    offsets: FloatArray
    radius: float

    @classmethod
    def through(cls, sample: FloatArray, tables: int, seed: int) -> Planes:
        """Draw planes through a sample (k, D) of unit vectors, k >= 1."""
        drawn = np.random.default_rng(seed).standard_normal((sample.shape[1], tables * BITS), np.float32)
        offsets = np.median(sample @ drawn, axis=0).astype(np.float32)
        radius = float(np.quantile(np.linalg.norm(sample - sample.mean(0), axis=1), 0.05))
        return cls(drawn, offsets, radius)

    def sign(self, vectors: FloatArray) -> Signatures:
        """Return the signatures (tables, n) of unit vectors (n, D)."""
        sides = vectors @ self.normals > self.offsets  # (n, tables * BITS)
        packed = np.packbits(sides, axis=1).view(">u4")  # the first plane is the highest bit
        return np.ascontiguousarray(packed.T, np.uint32)

    def most_different(self, threshold: float, bits: int) -> int:
        """Return how many of so many bits two vectors of this cosine differ in at most, but for 1 in 10^6.

        Seen from the mean, the same distance is a wider angle than from the origin.
        """
        distance = math.sqrt(max(2 - 2 * threshold, 0.0))
        angle = 2 * math.asin(min(distance / (2 * max(self.radius, 1e-6)), 1.0))
        share = min(angle / math.pi, 0.5)
        return min(math.ceil(bits * share + 5 * math.sqrt(bits * share * (1 - share))) + 1, bits)


def ones(words: npt.NDArray[np.unsignedinteger]) -> IntArray:
    """Return the number of bits set in each row of unsigned words (n, k), k >= 1, (n,)."""
    halves = np.ascontiguousarray(words).view(np.uint16)
    counts = _ONES[halves[:, 0]].astype(np.int64)
    for column in range(1, halves.shape[1]):
        counts += _ONES[halves[:, column]]
    return counts


def ordered(keys: Signatures) -> tuple[Signatures, IntArray]:
    """Sort fewer than 2**32 signatures (n,); return them and where they were, ties in their order.

    Key and place are sorted as one number, which is several times as fast as sorting places by keys.
    """
    both = keys.astype(np.uint64) << np.uint64(32) | np.arange(len(keys), dtype=np.uint64)
    both.sort()
    return (both >> np.uint64(32)).astype(np.uint32), (both & np.uint64(2**32 - 1)).astype(np.int64)


def runs(keys: npt.NDArray[np.unsignedinteger], window: int) -> Iterator[tuple[IntArray, IntArray, int]]:
    """Yield pairs of places with the same key in ascending keys (n,), by their distance from 1 to window.

    Yields:
        Places (k,), the places as far after them as this step's distance, and the number of places that
        still have an equal key beyond the window, which is 0 but for the last step.

    Example:
        >>> [(a.tolist(), b.tolist(), more) for a, b, more in runs(np.array([3, 3, 3, 7], np.uint8), 9)]
        [([0, 1], [1, 2], 0), ([0], [2], 0)]
    """
    active = np.flatnonzero(keys[1:] == keys[:-1])
    for distance in range(1, window + 1):
        if not len(active):
            return
        further = active[active + distance + 1 < len(keys)]
        further = further[keys[further] == keys[further + distance + 1]]
        yield active, active + distance, len(further) if distance == window else 0
        active = further
