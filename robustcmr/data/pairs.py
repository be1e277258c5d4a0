"""Training pairs as a method sees them: as they are given, without the truth."""

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

NO_WORD = 0
"""Index of the only word of a text whose words are unknown."""


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

    def batch(
        self,
        pair_ids: IntArray,
        generator: np.random.Generator | None = None,
        image_from: IntArray | None = None,
    ) -> PairBatch:
        """Read some pairs (B,), augmented with a generator; features that are on a device stay there.

        With ``image_from`` (B,), each caption comes with the image that was given to that pair.

        Raises:
            DataError: a feature read is not finite.
        """
        given = self.correspondence.image_of_caption[pair_ids if image_from is None else image_from]
        features = gather_finite(self.images, given, "image")  # (B, R, F), or (B, 3, H, W)
        mask = _full_mask(features)
        tokens, token_mask = self.captions.padded(pair_ids)
        if generator is not None and self.augmentation is not None:
            if features.ndim == 3:  # pixels have no regions to drop
                mask = drop_regions(mask, self.augmentation.drop_regions, generator)
                left_out = torch.from_numpy(np.flatnonzero(~mask)).to(features.device)
                features.flatten(0, 1).index_fill_(0, left_out, 0.0)
            tokens, token_mask = corrupt_words(tokens, token_mask, self.augmentation, generator)
        stored = self.text_vectors
        vectors = None if stored is None else gather_finite(stored, pair_ids, "caption")
        return PairBatch(
            ImageBatch(features, torch.from_numpy(mask)),
            _text_batch((tokens, token_mask), vectors),
            torch.from_numpy(pair_ids),
            torch.from_numpy(given[:, None] == given[None, :]),
        )

    @property
    def image_of_pair(self) -> IntArray:
        """(N,) the image given to each caption."""
        return self.correspondence.image_of_caption

    @property
    def in_memory(self) -> bool:
        """Whether all features are in main memory or on a device."""
        return all(isinstance(store, InMemoryFeatures | None) for store in (self.images, self.text_vectors))

    def placed(self, requested: RequestedPlace, half: bool, budget: MemoryBudget) -> TrainingPairs:
        """Return the same pairs with their features placed by :func:`place_features`.

        Raises:
            ConfigError: also if a place is requested for pictures.
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


@dataclass(frozen=True)
class TrainingLabels:
    """Labelled pairs with their classes as given, some of them wrong.

    Attributes:
        images: (n, 1, F), one vector an image.
        texts: (n, 1, V), one vector a text; text i belongs to image i.
        labels: (n, M) int64, given classes; M = 1, or 2 if image and text have one each.
        noise: standard deviation of the Gaussian noise added to every number in training.
        captions: word indices of all texts; None if only their vectors are known.
    """

    images: FeatureStore
    texts: FeatureStore
    labels: IntArray
    noise: float = 0.0
    captions: TokenTable | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(
        self,
        pair_ids: IntArray,
        generator: np.random.Generator | None = None,
        image_from: IntArray | None = None,
    ) -> PairBatch:
        """Read some pairs (B,), with noise from a generator; vectors that are on a device stay there.

        With ``image_from`` (B,), each text and its classes come with the image of that pair.

        Raises:
            DataError: a number read is not finite.
        """
        given = pair_ids if image_from is None else image_from
        images = gather_finite(self.images, given, "image")
        texts = gather_finite(self.texts, pair_ids, "text")
        if generator is not None and self.noise > 0:
            images, texts = (_with_noise(side, self.noise, generator) for side in (images, texts))
        words = None if self.captions is None else self.captions.padded(pair_ids)
        return PairBatch(
            ImageBatch(images, torch.from_numpy(_full_mask(images))),
            _text_batch(words, texts),
            torch.from_numpy(pair_ids),
            torch.from_numpy(given[:, None] == given[None, :]),
            torch.from_numpy(self.labels[pair_ids]),
        )

    @property
    def image_of_pair(self) -> IntArray:
        """(N,) every text has an image of its own."""
        return np.arange(len(self.labels), dtype=np.int64)

    @property
    def in_memory(self) -> bool:
        """Whether all vectors are in main memory or on a device."""
        return all(isinstance(store, InMemoryFeatures) for store in (self.images, self.texts))

    def placed(self, requested: RequestedPlace, half: bool, budget: MemoryBudget) -> TrainingLabels:
        """Return the same pairs with their vectors placed by :func:`place_features`."""
        found = place_features({"image": self.images, "text": self.texts}, requested, half, budget)
        return replace(self, images=found["image"], texts=found["text"])


def image_batches(
    images: ImageStore, batch_size: int, chosen: IntArray | None = None
) -> Iterator[ImageBatch]:
    """Read images, vectors or pixels in batches: the chosen (k,) in this order, or all."""
    rows = np.arange(images.shape[0], dtype=np.int64) if chosen is None else chosen
    for start in range(0, len(rows), batch_size):
        block = gather_finite(images, rows[start : start + batch_size], "image")
        yield ImageBatch(block, torch.from_numpy(_full_mask(block)))


def text_batches(
    captions: TokenTable | None,
    batch_size: int,
    vectors: FeatureStore | None = None,
    kind: str = "caption",
    chosen: IntArray | None = None,
) -> Iterator[TextBatch]:
    """Read texts in batches: their words, their precomputed vectors, or both.

    ``kind`` is what a text is called if its vector is not finite. ``chosen`` (k,) gives the texts to read, in
    this order; by default all.
    """
    n = len(captions) if captions is not None else 0 if vectors is None else vectors.shape[0]
    every = np.arange(n, dtype=np.int64) if chosen is None else chosen
    for start in range(0, len(every), batch_size):
        rows = every[start : start + batch_size]
        words = None if captions is None else captions.padded(rows)
        yield _text_batch(words, None if vectors is None else gather_finite(vectors, rows, kind))


def _text_batch(words: tuple[IntArray, BoolArray] | None, vectors: Tensor | None) -> TextBatch:
    """Return texts by indices and mask (B, W), by vectors (B, 1, V), or both."""
    known = None if vectors is None else vectors[:, 0]
    if words is None and known is not None:
        tokens = torch.full((len(known), 1), NO_WORD)
        return TextBatch(tokens, torch.ones_like(tokens, dtype=torch.bool), known)
    tokens, mask = (torch.from_numpy(each) for each in words or ())
    return TextBatch(tokens, mask, known)


def _full_mask(features: Tensor) -> BoolArray:
    """Return a mask of real regions only, (B, R), or (B, 1) for pixels."""
    return np.ones((len(features), features.shape[1] if features.ndim == 3 else 1), dtype=np.bool_)


def _with_noise(vectors: Tensor, deviation: float, generator: np.random.Generator) -> Tensor:
    noise = deviation * generator.standard_normal(tuple(vectors.shape), dtype=np.float32)
    return vectors + torch.from_numpy(noise).to(vectors.device)
