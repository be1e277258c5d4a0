"""Feature vectors standardised or brought to unit length as they are read, so that files stay on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustcmr.data.base import FeatureStore
from robustcmr.types import FloatArray, IntArray

BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Scale:
    """What standardises vectors of F numbers.

    Attributes:
        mean: (F,) float64.
        deviation: (F,) float64 > 0.
    """

    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]


@dataclass(frozen=True)
class PreparedFeatures:
    """The vectors of a store, prepared.

    Attributes:
        store: (n, 1, F).
        scale: subtracts its mean and divides by its deviation; None does not.
        normalise: brings vectors to length 1 after that; vectors of zeros stay as they are.
    """

    store: FeatureStore
    scale: Scale | None = None
    normalise: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, 1, F)."""
        return self.store.shape

    def take(self, images: IntArray) -> FloatArray:
        """Some vectors, (k, 1, F) float32, in the order asked for; repeats allowed."""
        taken = self.store.take(images)
        if self.scale is not None:
            taken = ((taken - self.scale.mean) / self.scale.deviation).astype(np.float32)
        if self.normalise:
            length = np.linalg.norm(taken.astype(np.float64), axis=2, keepdims=True)
            taken = (taken / np.where(length == 0.0, 1.0, length)).astype(np.float32)
        return taken


def measured_scale(store: FeatureStore) -> Scale:
    """Mean and population deviation of each number over all vectors, read in blocks.

    Args:
        store: (n, 1, F), n at least 1. Numbers that are not finite do not count.

    Returns:
        The scale, with 1 in place of the deviation of a number that never varies.
    """
    width = store.shape[2]
    count, total = np.zeros(width), np.zeros(width)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for block, finite in _blocks(store):
        count += finite.sum(0)
        total += np.where(finite, block, 0.0).sum(0)
        low = np.minimum(low, np.where(finite, block, np.inf).min(0))
        high = np.maximum(high, np.where(finite, block, -np.inf).max(0))
    mean = total / np.maximum(count, 1)
    squares = np.zeros(width)
    for block, finite in _blocks(store):  # again, as the difference of two large sums would be rounded
        squares += (np.where(finite, block - mean, 0.0) ** 2).sum(0)
    deviation = np.sqrt(squares / np.maximum(count, 1))
    return Scale(mean, np.where(low >= high, 1.0, deviation))  # rounding gives constants a tiny deviation


def _blocks(
    store: FeatureStore,
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
    """Blocks of vectors (k, F), 0 where they are not finite, and where they are."""
    n = store.shape[0]
    for first in range(0, n, BLOCK_ROWS):
        rows = np.arange(first, min(first + BLOCK_ROWS, n), dtype=np.int64)
        block = store.take(rows)[:, 0].astype(np.float64)  # (k, F)
        finite = np.isfinite(block)
        yield np.where(finite, block, 0.0), finite
