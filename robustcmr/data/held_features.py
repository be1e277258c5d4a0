"""Features held as a whole, in main memory or on an accelerator, and features rounded to half precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcmr.data.base import FeatureStore, ImageStore
from robustcmr.data.store import NpyFeatures, iterate_blocks
from robustcmr.errors import DataError
from robustcmr.types import FloatArray, IntArray

BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class HalfFeatures:
    """The numbers of a store, each rounded to half precision (float16) as it is read.

    Attributes:
        store: (n, R, F).
    """

    store: FeatureStore

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, R, F)."""
        return self.store.shape

    def take(self, images: IntArray) -> FloatArray:
        """Some images, (k, R, F) float32, in the order asked for; repeats allowed.

        Raises:
            DataError: a number is too large for half precision.
        """
        exact = torch.from_numpy(self.store.take(images))
        rounded: FloatArray = _halved(exact).float().numpy()
        return rounded


class HeldFeatures:
    """Features of all images of a split in one tensor, gathered where they are.

    A copy made by pickling holds no numbers but reads the store they came from, which gives the same ones.

    Args:
        numbers: (n, R, F), float16 or float32.
        source: where they came from.
    """

    def __init__(self, numbers: Tensor, source: FeatureStore) -> None:
        self._numbers = numbers
        self._source = source

    @classmethod
    def hold(cls, store: FeatureStore, device: torch.device, what: str = "image") -> HeldFeatures:
        """Read a store once, from front to back, and keep its numbers.

        They are kept in half precision where the file has them so, or where they are rounded to it.

        Args:
            store: (n, R, F).
            device: where to keep them.
            what: of what they are, for a message.

        Raises:
            DataError: a number is not finite, or too large for half precision.
        """
        dtype = torch.float16 if item_bytes(store) == 2 else torch.float32
        numbers = torch.empty(store.shape, dtype=dtype, device=device)
        inner = store.store if isinstance(store, HalfFeatures) else store
        for first, block in iterate_blocks(inner, rows_of(store.shape, BLOCK_BYTES)):
            read = torch.from_numpy(block.astype(block.dtype.newbyteorder("="), copy=False))
            finite = read.isfinite().flatten(1).all(1)
            if not finite.all():
                raise DataError(
                    f"the training features hold NaN or infinite numbers, first those of {what} "
                    f"{first + int(finite.int().argmin())}; run 'robustcmr data check' and repair them"
                )
            numbers[first : first + len(block)] = _halved(read) if dtype == torch.float16 else read
        return cls(numbers, store)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, R, F)."""
        n, regions, width = self._numbers.shape
        return n, regions, width

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self._numbers.device

    @property
    def nbytes(self) -> int:
        """Memory they take."""
        return self._numbers.nbytes

    def gather(self, images: IntArray) -> Tensor:
        """Some images, (k, R, F) float32 on the device, in the order asked for; repeats allowed.

        Raises:
            ValueError: ``images`` is no vector.
            IndexError: an index lies outside 0..n-1.
        """
        wanted = np.asarray(images, dtype=np.int64)
        n = len(self._numbers)
        if wanted.ndim != 1:
            raise ValueError(f"images must be a vector of indices, got shape {wanted.shape}")
        if wanted.size and (wanted.min() < 0 or wanted.max() >= n):
            raise IndexError(f"images must lie in 0..{n - 1}, got {wanted.min()}..{wanted.max()}")
        return self._numbers.index_select(0, torch.from_numpy(wanted).to(self.device)).float()

    def take(self, images: IntArray) -> FloatArray:
        """The same in main memory."""
        taken: FloatArray = self.gather(images).cpu().numpy()
        return taken

    def __reduce__(self) -> tuple[Callable[[FeatureStore], FeatureStore], tuple[Any, ...]]:
        return _itself, (self._source,)


def gathered(store: ImageStore, rows: IntArray) -> Tensor:
    """Some images as a tensor, where the store holds them, or else in main memory.

    Args:
        store: (n, ...).
        rows: (k,) images, in any order, repeats allowed.

    Returns:
        (k, ...) float32.
    """
    return store.gather(rows) if isinstance(store, HeldFeatures) else torch.from_numpy(store.take(rows))


def item_bytes(store: FeatureStore) -> int:
    """Bytes a number takes when it is held: 2 where half precision loses nothing, else 4."""
    if isinstance(store, HalfFeatures) or (isinstance(store, NpyFeatures) and store.dtype.itemsize == 2):
        return 2
    return 4


def held_bytes(store: FeatureStore) -> int:
    """Memory that a store takes when it is held."""
    n, regions, width = store.shape
    return n * regions * width * item_bytes(store)


def rows_of(shape: tuple[int, ...], size: int) -> int:
    """How many images of a store make about so many bytes of float32; at least 1."""
    return max(1, size // (4 * shape[1] * shape[2]))


def _halved(numbers: Tensor) -> Tensor:
    """Rounded to half precision.

    Raises:
        DataError: a number is too large for it.
    """
    if numbers.dtype == torch.float16:
        return numbers
    halved = numbers.half()
    lost = halved.isinf() & numbers.isfinite()
    if lost.any():
        raise DataError(
            f"the features hold {float(numbers[lost].abs().max()):g}, and half precision ends at 65504; "
            "leave training.half_features out"
        )
    return halved


def _itself(store: FeatureStore) -> FeatureStore:
    return store
