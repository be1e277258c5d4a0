"""Training pairs as a method sees them: features, words and the given pairing, without the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from robustcmr.data.augmentation import Augmentation, BoolArray, corrupt_words, drop_regions
from robustcmr.data.base import FeatureStore, ImageStore
from robustcmr.data.captions import TokenTable
from robustcmr.data.in_memory_features import InMemoryFeatures, gather_finite
from robustcmr.data.placement import MemoryBudget, RequestedPlace, place_features
from robustcmr.data.scoring_order import STRETCH_BYTES, WINDOW_BYTES, shuffled_parts
from robustcmr.data.store import rows_within
from robustcmr.errors import ConfigError
from robustcmr.types import Correspondence, ImageBatch, IntArray, PairBatch, TextBatch


@dataclass(frozen=True)
class TrainingPairs:
    """Image-text pairs as given, some of them mismatched.

    Attributes:
        images: region features or pixels of all images.
        captions: word indices of all captions.
        correspondence: the image given to each caption.
        augmentation: regions and words to hide in training; None hides none.
        text_vectors: a precomputed vector a caption, or None.
    """

    images: ImageStore
    captions: TokenTable
    correspondence: Correspondence
    augmentation: Augmentation | None
    text_vectors: FeatureStore | None = None

    def __len__(self) -> int:
        return len(self.correspondence)

    def batch(self, pair_ids: IntArray, generator: np.random.Generator | None = None) -> PairBatch:
        """Read some pairs.

        Args:
            pair_ids: (B,) caption rows.
            generator: source of randomness of the augmentation; None reads the pairs unchanged.

        Returns:
            The batch, on the CPU, except for features that are on a device.

        Raises:
            DataError: a feature read is not finite.
        """
        given = self.correspondence.image_of_caption[pair_ids]
        features = gather_finite(self.images, given, "image")  # (B, R, F), or (B, 3, H, W)
        mask = _full_mask(features)
        tokens, token_mask = self.captions.padded(pair_ids)
        if generator is not None and self.augmentation is not None:
            if features.ndim == 3:  # pixels have no regions to drop
                mask = drop_regions(mask, self.augmentation.drop_regions, generator)
                left_out = torch.from_numpy(np.flatnonzero(~mask)).to(features.device)
                features.flatten(0, 1).index_fill_(0, left_out, 0.0)
            tokens, token_mask = corrupt_words(tokens, token_mask, self.augmentation, generator)
        return PairBatch(
            ImageBatch(features, torch.from_numpy(mask)),
            _text_batch(tokens, token_mask, self.text_vectors, pair_ids),
            torch.from_numpy(pair_ids),
            torch.from_numpy(given[:, None] == given[None, :]),
        )

    @property
    def in_memory(self) -> bool:
        """Whether all features are in main memory or on a device."""
        return all(isinstance(store, InMemoryFeatures | None) for store in (self.images, self.text_vectors))

    def placed(self, requested: RequestedPlace, half: bool, budget: MemoryBudget) -> TrainingPairs:
        """Return the same pairs with their features in the requested place, or wherever they fit.

        Args:
            requested: the option ``training.store``.
            half: whether to round features to half precision.
            budget: free memory.

        Raises:
            ConfigError: the features do not fit there, or there are pictures and no features.
            DataError: a number is not finite, or too large for half precision.
        """
        if len(self.images.shape) == 4:
            if requested in ("memory", "device") or half:
                option = "training.half_features is true" if half else f"training.store is {requested}"
                default = "training.half_features=false" if half else "training.store=auto"
                raise ConfigError(
                    f"{option}, but this matcher reads pictures, which are decoded for each batch; "
                    f"set {default}"
                )
            return self
        stores: dict[str, FeatureStore] = {"image": cast(FeatureStore, self.images)}
        if self.text_vectors is not None:
            stores["caption"] = self.text_vectors
        found = place_features(stores, requested, half, budget)
        return replace(self, images=found["image"], text_vectors=found.get("caption"))

    def shuffled_parts(self, n_parts: int, generator: np.random.Generator) -> list[IntArray]:
        """Divide all pairs into random parts of nearly equal size; see :func:`shuffled_parts`."""
        shape = self.images.shape
        if len(shape) == 4:  # pictures are decoded for each batch, so their order does not matter
            return np.array_split(generator.permutation(len(self)), n_parts)
        stretch, window = rows_within(shape, STRETCH_BYTES), rows_within(shape, WINDOW_BYTES)
        return shuffled_parts(self.correspondence.image_of_caption, n_parts, stretch, window, generator)


def image_batches(
    images: ImageStore, batch_size: int, chosen: IntArray | None = None
) -> Iterator[ImageBatch]:
    """Read images in batches.

    Args:
        images: region features, vectors or pixels.
        batch_size: images a batch.
        chosen: (k,) the images to read, in this order; None reads all in order.

    Raises:
        DataError: a feature read is not finite.
    """
    rows = np.arange(images.shape[0], dtype=np.int64) if chosen is None else chosen
    for start in range(0, len(rows), batch_size):
        block = gather_finite(images, rows[start : start + batch_size], "image")
        yield ImageBatch(block, torch.from_numpy(_full_mask(block)))


def text_batches(
    captions: TokenTable,
    batch_size: int,
    text_vectors: FeatureStore | None = None,
    chosen: IntArray | None = None,
) -> Iterator[TextBatch]:
    """Read captions in batches.

    Args:
        captions: word indices.
        batch_size: captions a batch.
        text_vectors: a precomputed vector a caption, or None.
        chosen: (k,) the captions to read, in this order; None reads all in order.

    Raises:
        DataError: a vector read is not finite.
    """
    every = np.arange(len(captions), dtype=np.int64) if chosen is None else chosen
    for start in range(0, len(every), batch_size):
        rows = every[start : start + batch_size]
        yield _text_batch(*captions.padded(rows), text_vectors, rows)


def _text_batch(
    tokens: IntArray, mask: BoolArray, text_vectors: FeatureStore | None, rows: IntArray
) -> TextBatch:
    vectors = None
    if text_vectors is not None:
        vectors = gather_finite(text_vectors, rows, "caption")[:, 0]  # (B, V)
    return TextBatch(torch.from_numpy(tokens), torch.from_numpy(mask), vectors)


def _full_mask(features: Tensor) -> BoolArray:
    """Return a mask of real regions only, (B, R), or (B, 1) for pixels."""
    return np.ones((len(features), features.shape[1] if features.ndim == 3 else 1), dtype=np.bool_)
