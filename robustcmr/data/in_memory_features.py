"""Features loaded into main memory or onto an accelerator, and features rounded to half precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcmr.data.base import FeatureStore, ImageStore
from robustcmr.data.store import checked_indices, iterate_blocks
from robustcmr.errors import DataError
from robustcmr.types import FloatArray, IntArray


@dataclass(frozen=True)
class HalfFeatures:
    """The numbers of a store (n, R, F), rounded to half precision (float16) as they are read."""

    store: FeatureStore

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, R, F)."""
        return self.store.shape

    def take(self, images: IntArray) -> FloatArray:
        """Read images (k,) as (k, R, F) float32; raise a :class:`DataError` if a number is too large."""
        rounded: FloatArray = _to_half(torch.from_numpy(self.store.take(images))).float().numpy()
        return rounded


class InMemoryFeatures:
    """Features of all images of a split in one tensor, in main memory or on a device.

    Numbers take 2 bytes where the file has half precision or they are rounded to it, else 4. A pickled copy
    carries no numbers: it is the store they were read from.

    Args:
        source: (n, R, F); read once, from front to back.
        device: where to keep the numbers.
        kind: of an entry, such as ``image``; for messages.

    Raises:
        DataError: a number is not finite, or too large for half precision.
    """

    def __init__(self, source: FeatureStore, device: torch.device, kind: str = "image") -> None:
        self.shape = source.shape
        """(n, R, F)."""
        self._source = source
        dtype = torch.float16 if bytes_per_number(source) == 2 else torch.float32
        self._numbers = torch.empty(source.shape, dtype=dtype, device=device)
        for first, block in iterate_blocks(source.store if isinstance(source, HalfFeatures) else source):
            read = torch.from_numpy(block)
            finite = read.isfinite().flatten(1).all(1)  # (k,)
            if not finite.all():
                raise DataError(
                    f"the training features hold NaN or infinite numbers, first those of {kind} "
                    f"{first + int(finite.int().argmin())}; run 'robustcmr data check' and repair them"
                )
            self._numbers[first : first + len(block)] = _to_half(read) if dtype == torch.float16 else read

    def gather(self, images: IntArray) -> Tensor:
        """Return images (k,) as (k, R, F) float32 on the device, in the requested order; repeats allowed."""
        wanted = torch.from_numpy(checked_indices(images, self.shape[0]))
        return self._numbers.index_select(0, wanted.to(self._numbers.device)).float()

    def take(self, images: IntArray) -> FloatArray:
        """Return the same as an array in main memory."""
        taken: FloatArray = self.gather(images).cpu().numpy()
        return taken

    def __reduce__(self) -> tuple[Callable[[FeatureStore], FeatureStore], tuple[Any, ...]]:
        return _source_itself, (self._source,)


def gather_finite(store: ImageStore, rows: IntArray, kind: str) -> Tensor:
    """Return entries (k,) of a store as (k, ...) float32, on the device that holds them, or on the CPU.

    ``kind`` is what an entry is, such as ``image``, for the message.

    Raises:
        DataError: a number is NaN or infinite.
    """
    if isinstance(store, InMemoryFeatures):  # checked when they were loaded
        return store.gather(rows)
    numbers = store.take(rows)
    finite = np.isfinite(numbers).all(axis=tuple(range(1, numbers.ndim)))  # (k,)
    if not finite.all():
        bad = np.unique(rows[~finite])
        raise DataError(
            f"features of {len(bad)} {kind}s in this batch hold NaN or infinite numbers "
            f"(first: {kind} {bad[0]}); run 'robustcmr data check' on the folder and repair them"
        )
    return torch.from_numpy(numbers)


def bytes_per_number(store: FeatureStore) -> int:
    """Return the bytes of a number in memory: 2 where half precision loses nothing, else 4."""
    stored = getattr(store, "dtype", None)  # of stores that read files
    in_half = isinstance(stored, np.dtype) and stored.itemsize == 2
    return 2 if in_half or isinstance(store, HalfFeatures) else 4


def _to_half(numbers: Tensor) -> Tensor:
    """Round to half precision; raise a :class:`DataError` if a number is too large for it."""
    rounded = numbers.half()
    lost = rounded.isinf() & numbers.isfinite()
    if lost.any():
        raise DataError(
            f"the features hold {float(numbers[lost].abs().max()):g}, and half precision ends at 65504; "
            "add --set training.half_features=false"
        )
    return rounded


def _source_itself(store: FeatureStore) -> FeatureStore:
    return store
