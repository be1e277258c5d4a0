"""The labelled training pairs as a method may see them: vectors, words and given classes; no truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from robustcmr.data.base import FeatureStore
from robustcmr.data.captions import BoolArray, TokenTable
from robustcmr.data.held_features import HeldFeatures
from robustcmr.data.placement import MemoryBudget, Wish, place_features
from robustcmr.errors import DataError
from robustcmr.types import ImageBatch, IntArray, PairBatch, TextBatch

NO_WORD = 0
"""Index of the one word that stands in each text of which only the vector is known."""


@dataclass(frozen=True)
class TrainingLabels:
    """Labelled pairs with the classes they were given, right or wrong.

    Attributes:
        images: (n, 1, F), one vector an image.
        texts: (n, 1, V), one vector a text; text i belongs to image i.
        labels: (n, M) int64, given classes; M = 1, or 2 where image and text have one each.
        noise: standard deviation of the Gaussian noise added to every number in training; 0 adds none.
        captions: word indices of all texts; None where only their vectors are known.
    """

    images: FeatureStore
    texts: FeatureStore
    labels: IntArray
    noise: float = 0.0
    captions: TokenTable | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, pair_ids: IntArray, generator: np.random.Generator | None = None) -> PairBatch:
        """Read some pairs.

        Args:
            pair_ids: (B,) rows.
            generator: source of chance of the added noise; None reads the pairs as they are.

        Returns:
            The batch, on the CPU; but vectors held on a device stay there.

        Raises:
            DataError: a number read is not finite.
        """
        images, texts = _finite(self.images, pair_ids, "image"), _finite(self.texts, pair_ids, "text")
        if generator is not None and self.noise > 0:
            images, texts = (_blurred(side, self.noise, generator) for side in (images, texts))
        return PairBatch(
            image_batch(images),
            text_batch(texts, None if self.captions is None else self.captions.padded(pair_ids)),
            torch.from_numpy(pair_ids),
            torch.eye(len(pair_ids), dtype=torch.bool),
            torch.from_numpy(self.labels[pair_ids]),
        )

    @property
    def is_held(self) -> bool:
        """Whether all vectors are in memory or on the device."""
        return all(isinstance(store, HeldFeatures) for store in (self.images, self.texts))

    def placed(self, wish: Wish, half: bool, room: MemoryBudget) -> TrainingLabels:
        """The same pairs, their vectors put where they were wished or fit best.

        Args:
            wish: where to.
            half: whether to round vectors to half precision.
            room: what there is room for.

        Raises:
            ConfigError: the wish is impossible.
            DataError: a number is not finite, or too large for half precision.
        """
        found = place_features({"image": self.images, "text": self.texts}, wish, half, room)
        return replace(self, images=found["image"], texts=found["text"])


def image_vector_batches(images: FeatureStore, batch_size: int) -> Iterator[ImageBatch]:
    """All image vectors in order, in batches."""
    for rows in _blocks(images.shape[0], batch_size):
        yield image_batch(_finite(images, rows, "image"))


def text_vector_batches(
    texts: FeatureStore, batch_size: int, captions: TokenTable | None = None
) -> Iterator[TextBatch]:
    """All text vectors in order, in batches, with their words where these are known."""
    for rows in _blocks(texts.shape[0], batch_size):
        yield text_batch(_finite(texts, rows, "text"), None if captions is None else captions.padded(rows))


def image_batch(vectors: Tensor) -> ImageBatch:
    """Images (B, 1, F) of one region each."""
    return ImageBatch(vectors, torch.ones(vectors.shape[:2], dtype=torch.bool))


def text_batch(vectors: Tensor, words: tuple[IntArray, BoolArray] | None = None) -> TextBatch:
    """Texts with their vectors.

    Args:
        vectors: (B, 1, V).
        words: (B, W) indices and mask; None gives each text one word that stands for nothing.
    """
    known = vectors[:, 0]
    if words is None:
        tokens = torch.full((len(vectors), 1), NO_WORD)
        return TextBatch(tokens, torch.ones_like(tokens, dtype=torch.bool), known)
    return TextBatch(torch.from_numpy(words[0]), torch.from_numpy(words[1]), known)


def _blocks(n: int, size: int) -> Iterator[IntArray]:
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n), dtype=np.int64)


def _blurred(vectors: Tensor, deviation: float, generator: np.random.Generator) -> Tensor:
    chance = deviation * generator.standard_normal(tuple(vectors.shape), dtype=np.float32)
    return vectors + torch.from_numpy(chance).to(vectors.device)


def _finite(store: FeatureStore, rows: IntArray, what: str) -> Tensor:
    """Some vectors; what was looked through before it was held is not looked at again."""
    if isinstance(store, HeldFeatures):
        return store.gather(rows)
    vectors = store.take(rows)
    finite = np.isfinite(vectors).all(axis=(1, 2))
    if not finite.all():
        bad = np.unique(rows[~finite])
        raise DataError(
            f"vectors of {len(bad)} {what}s in this batch hold NaN or infinite numbers (first: {what} "
            f"{bad[0]}); repair the file"
        )
    return torch.from_numpy(vectors)
