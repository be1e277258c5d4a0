"""The training pairs as a method may see them: features, words and the pairing as given; no truth."""

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
from robustcmr.data.held_features import HeldFeatures, gathered, rows_of
from robustcmr.data.placement import MemoryBudget, Wish, place_features
from robustcmr.data.windows import STRETCH_BYTES, WINDOW_BYTES, WindowFeatures, shuffled_windows
from robustcmr.errors import ConfigError, DataError
from robustcmr.types import Correspondence, ImageBatch, IntArray, PairBatch, TextBatch


@dataclass(frozen=True)
class TrainingPairs:
    """Given pairs, right or wrong.

    Attributes:
        images: region features of all images, or their pixels.
        captions: word indices of all captions.
        correspondence: the image given to each caption.
        augmentation: what training hides; None hides nothing.
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
            generator: source of chance of the augmentation; None reads the pairs as they are.

        Returns:
            The batch, on the CPU; but features held on a device stay there.

        Raises:
            DataError: a feature read is not finite.
        """
        given = self.correspondence.image_of_caption[pair_ids]
        features = _read(self.images, given, "image")  # (B, R, F), or (B, 3, H, W)
        mask = _whole(features)
        tokens, token_mask = self.captions.padded(pair_ids)
        if generator is not None and self.augmentation is not None:
            if features.ndim == 3:  # pixels are no regions that could be left out
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
    def is_held(self) -> bool:
        """Whether all features are in memory or on the device."""
        return all(isinstance(store, HeldFeatures | None) for store in (self.images, self.text_vectors))

    def placed(self, wish: Wish, half: bool, room: MemoryBudget) -> TrainingPairs:
        """The same pairs, their features put where they were wished or fit best.

        Args:
            wish: where to.
            half: whether to round features to half precision.
            room: what there is room for.

        Raises:
            ConfigError: the wish is impossible, or there are pictures and no features.
            DataError: a number is not finite, or too large for half precision.
        """
        if len(self.images.shape) == 4:
            if wish in ("memory", "device") or half:
                asked = "training.half_features is set" if half else f"training.store is {wish}"
                raise ConfigError(
                    f"{asked}, but this matcher reads pictures, which are loaded when they are asked for; "
                    "leave it out"
                )
            return self
        stores: dict[str, FeatureStore] = {"image": cast(FeatureStore, self.images)}
        if self.text_vectors is not None:
            stores["caption"] = self.text_vectors
        found = place_features(stores, wish, half, room)
        return replace(self, images=found["image"], text_vectors=found.get("caption"))

    def windows(self, n_parts: int, generator: np.random.Generator) -> list[list[IntArray]]:
        """All pairs in random parts, as even as possible, by window; see :func:`shuffled_windows`."""
        shape = self.images.shape
        if len(shape) == 4:  # pixels are made for each batch
            return [np.array_split(generator.permutation(len(self)), n_parts)]
        stretch, window = rows_of(shape, STRETCH_BYTES), rows_of(shape, WINDOW_BYTES)
        return shuffled_windows(self.correspondence.image_of_caption, n_parts, stretch, window, generator)

    def window(self, pair_ids: IntArray) -> TrainingPairs:
        """The same pairs, of which some are read at once and held, unless all are held already."""
        images, vectors = self.images, self.text_vectors
        if not isinstance(images, HeldFeatures):
            images = WindowFeatures(
                cast(FeatureStore, images), self.correspondence.image_of_caption[pair_ids]
            )
        if vectors is not None and not isinstance(vectors, HeldFeatures):
            vectors = WindowFeatures(vectors, pair_ids)
        return replace(self, images=images, text_vectors=vectors)


def image_batches(
    images: ImageStore, batch_size: int, chosen: IntArray | None = None
) -> Iterator[ImageBatch]:
    """All images in order, or those asked for, in batches."""
    rows = np.arange(images.shape[0], dtype=np.int64) if chosen is None else chosen
    for start in range(0, len(rows), batch_size):
        block = gathered(images, rows[start : start + batch_size])
        yield ImageBatch(block, torch.from_numpy(_whole(block)))


def text_batches(
    captions: TokenTable, batch_size: int, text_vectors: FeatureStore | None = None
) -> Iterator[TextBatch]:
    """All captions in order, in batches.

    Args:
        captions: word indices.
        batch_size: captions a batch.
        text_vectors: a precomputed vector a caption, or None.
    """
    n = len(captions)
    for start in range(0, n, batch_size):
        rows = np.arange(start, min(start + batch_size, n), dtype=np.int64)
        yield _text_batch(*captions.padded(rows), text_vectors, rows)


def _text_batch(
    tokens: IntArray, mask: BoolArray, text_vectors: FeatureStore | None, rows: IntArray
) -> TextBatch:
    vectors = None
    if text_vectors is not None:
        vectors = _read(text_vectors, rows, "caption")[:, 0]  # (B, V)
    return TextBatch(torch.from_numpy(tokens), torch.from_numpy(mask), vectors)


def _whole(features: Tensor) -> BoolArray:
    """(B, R) all real, or (B, 1) for pixels."""
    return np.ones((len(features), features.shape[1] if features.ndim == 3 else 1), dtype=np.bool_)


def _read(store: ImageStore, rows: IntArray, what: str) -> Tensor:
    """Some entries of a store; what was looked through before it was held is not looked at again.

    Raises:
        DataError: a number is not finite.
    """
    if isinstance(store, HeldFeatures):
        return store.gather(rows)
    numbers = store.take(rows)
    with np.errstate(all="ignore"):
        total = numbers.sum()  # half the time of looking at each number; not finite where one is not
    if not np.isfinite(total):
        finite = np.isfinite(numbers).reshape(len(rows), -1).all(axis=1)
        if not finite.all():
            bad = np.unique(rows[~finite])
            raise DataError(
                f"features of {len(bad)} {what}s in this batch hold NaN or infinite numbers "
                f"(first: {what} {bad[0]}); run 'robustcmr data check' on the folder and repair them"
            )
    return torch.from_numpy(numbers)
