"""Labelled training pairs as a method sees them: vectors, words and given classes, without the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from robustcmr.data.base import FeatureStore
from robustcmr.data.captions import BoolArray, TokenTable
from robustcmr.data.in_memory_features import InMemoryFeatures, gather_finite
from robustcmr.data.placement import MemoryBudget, RequestedPlace, place_features
from robustcmr.types import ImageBatch, IntArray, PairBatch, TextBatch

NO_WORD = 0
"""Index of the only word of a text whose words are unknown."""


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

    def batch(self, pair_ids: IntArray, generator: np.random.Generator | None = None) -> PairBatch:
        """Read some pairs (B,), with noise from a generator; vectors that are on a device stay there.

        Raises:
            DataError: a number read is not finite.
        """
        images = gather_finite(self.images, pair_ids, "image")
        texts = gather_finite(self.texts, pair_ids, "text")
        if generator is not None and self.noise > 0:
            images, texts = (_with_noise(side, self.noise, generator) for side in (images, texts))
        return PairBatch(
            ImageBatch(images, torch.ones(images.shape[:2], dtype=torch.bool)),
            _text_batch(texts, None if self.captions is None else self.captions.padded(pair_ids)),
            torch.from_numpy(pair_ids),
            torch.eye(len(pair_ids), dtype=torch.bool),
            torch.from_numpy(self.labels[pair_ids]),
        )

    @property
    def in_memory(self) -> bool:
        """Whether all vectors are in main memory or on a device."""
        return all(isinstance(store, InMemoryFeatures) for store in (self.images, self.texts))

    def placed(self, requested: RequestedPlace, half: bool, budget: MemoryBudget) -> TrainingLabels:
        """Return the same pairs with their vectors placed by :func:`place_features`."""
        found = place_features({"image": self.images, "text": self.texts}, requested, half, budget)
        return replace(self, images=found["image"], texts=found["text"])


def text_vector_batches(
    texts: FeatureStore, batch_size: int, captions: TokenTable | None = None
) -> Iterator[TextBatch]:
    """Read all text vectors in order, in batches, with their words if these are known."""
    for start in range(0, texts.shape[0], batch_size):
        rows = np.arange(start, min(start + batch_size, texts.shape[0]), dtype=np.int64)
        vectors = gather_finite(texts, rows, "text")
        yield _text_batch(vectors, None if captions is None else captions.padded(rows))


def _text_batch(vectors: Tensor, words: tuple[IntArray, BoolArray] | None) -> TextBatch:
    """Return texts with their vectors (B, 1, V); one with unknown words has the one word ``NO_WORD``."""
    known = vectors[:, 0]
    if words is None:
        tokens = torch.full((len(vectors), 1), NO_WORD)
        return TextBatch(tokens, torch.ones_like(tokens, dtype=torch.bool), known)
    return TextBatch(torch.from_numpy(words[0]), torch.from_numpy(words[1]), known)


def _with_noise(vectors: Tensor, deviation: float, generator: np.random.Generator) -> Tensor:
    noise = deviation * generator.standard_normal(tuple(vectors.shape), dtype=np.float32)
    return vectors + torch.from_numpy(noise).to(vectors.device)
