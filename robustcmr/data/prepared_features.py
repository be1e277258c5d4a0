"""Feature vectors standardised or normalised to unit length as they are read; files stay on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustcmr.data.base import FeatureStore
from robustcmr.data.store import iterate_blocks
from robustcmr.types import FloatArray, IntArray

BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation > 0 of F numbers, (F,) float64 each: x -> (x - mean) / deviation."""

    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]


@dataclass(frozen=True)
class PreparedFeatures:
    """Vectors of a store (n, 1, F), standardised, then normalised to length 1; zero ones stay zero."""

    store: FeatureStore
    scale: Scale | None = None
    normalise: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, 1, F)."""
        return self.store.shape

    def take(self, images: IntArray) -> FloatArray:
        """Read some vectors, (k, 1, F) float32, in the requested order; repeats allowed."""
        taken = self.store.take(images)
        if self.scale is not None:
            taken = ((taken - self.scale.mean) / self.scale.deviation).astype(np.float32)
        if self.normalise:
            length = np.linalg.norm(taken.astype(np.float64), axis=2, keepdims=True)
            taken = (taken / np.where(length == 0.0, 1.0, length)).astype(np.float32)
        return taken


def measured_scale(store: FeatureStore) -> Scale:
    """Measure the mean and population standard deviation of each number of (n, 1, F) vectors, in blocks.

    Numbers that are not finite are ignored; the deviation of a number that never varies is 1.
    """
    width = store.shape[2]
    count, total = np.zeros(width), np.zeros(width)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for block, finite in _blocks(store):
        count += finite.sum(0)
        total += block.sum(0)
        low = np.minimum(low, np.where(finite, block, np.inf).min(0))
        high = np.maximum(high, np.where(finite, block, -np.inf).max(0))
    mean = total / np.maximum(count, 1)
    squares = np.zeros(width)
    for block, finite in _blocks(store):  # a second pass: E[x²] - E[x]² would cancel
        squares += (np.where(finite, block - mean, 0.0) ** 2).sum(0)
    deviation = np.sqrt(squares / np.maximum(count, 1))
    return Scale(mean, np.where(low >= high, 1.0, deviation))  # rounding gives constants a tiny deviation


def _blocks(store: FeatureStore) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
    """Yield blocks of vectors (k, F), 0 where they are not finite, and where they are finite."""
    for _, vectors in iterate_blocks(store, BLOCK_ROWS):
        block = vectors[:, 0].astype(np.float64)  # (k, F)
        finite = np.isfinite(block)
        yield np.where(finite, block, 0.0), finite
