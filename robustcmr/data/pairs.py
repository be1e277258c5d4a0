"""The training pairs as a method may see them: features, words and the pairing as given; no truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from robustcmr.data.augmentation import Augmentation, BoolArray, corrupt_words, drop_regions
from robustcmr.data.base import FeatureStore, ImageStore
from robustcmr.data.captions import TokenTable
from robustcmr.errors import DataError
from robustcmr.types import Correspondence, FloatArray, ImageBatch, IntArray, PairBatch, TextBatch


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
            The batch, on the CPU.

        Raises:
            DataError: a feature read is not finite.
        """
        given = self.correspondence.image_of_caption[pair_ids]
        features = self.images.take(given)  # (B, R, F), or (B, 3, H, W)
        _refuse_non_finite(features, given, "image")
        mask = _whole(features)
        tokens, token_mask = self.captions.padded(pair_ids)
        if generator is not None and self.augmentation is not None:
            if features.ndim == 3:  # pixels are no regions that could be left out
                mask = drop_regions(mask, self.augmentation.drop_regions, generator)
                features[~mask] = 0.0
            tokens, token_mask = corrupt_words(tokens, token_mask, self.augmentation, generator)
        return PairBatch(
            ImageBatch(torch.from_numpy(features), torch.from_numpy(mask)),
            _text_batch(tokens, token_mask, self.text_vectors, pair_ids),
            torch.from_numpy(pair_ids),
            torch.from_numpy(given[:, None] == given[None, :]),
        )


def image_batches(
    images: ImageStore, batch_size: int, chosen: IntArray | None = None
) -> Iterator[ImageBatch]:
    """All images in order, or those asked for, in batches."""
    rows = np.arange(images.shape[0], dtype=np.int64) if chosen is None else chosen
    for start in range(0, len(rows), batch_size):
        block = images.take(rows[start : start + batch_size])
        yield ImageBatch(torch.from_numpy(block), torch.from_numpy(_whole(block)))


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
        numbers = text_vectors.take(rows)[:, 0]  # (B, V)
        _refuse_non_finite(numbers, rows, "caption")
        vectors = torch.from_numpy(numbers)
    return TextBatch(torch.from_numpy(tokens), torch.from_numpy(mask), vectors)


def _whole(features: FloatArray) -> BoolArray:
    """(B, R) all real, or (B, 1) for pixels."""
    return np.ones((len(features), features.shape[1] if features.ndim == 3 else 1), dtype=np.bool_)


def _refuse_non_finite(numbers: FloatArray, rows: IntArray, what: str) -> None:
    finite = np.isfinite(numbers)
    if not finite.all():
        bad = np.unique(rows[~finite.reshape(len(rows), -1).all(axis=1)])
        raise DataError(
            f"features of {len(bad)} {what}s in this batch hold NaN or infinite numbers "
            f"(first: {what} {bad[0]}); run 'robustcmr data check' on the folder and repair them"
        )
