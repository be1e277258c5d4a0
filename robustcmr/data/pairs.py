"""The training pairs as a method may see them: features, words and the pairing as given; no truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from robustcmr.data.augmentation import Augmentation, corrupt_words, drop_regions
from robustcmr.data.base import FeatureStore
from robustcmr.data.captions import TokenTable
from robustcmr.errors import DataError
from robustcmr.types import Correspondence, ImageBatch, IntArray, PairBatch, TextBatch


@dataclass(frozen=True)
class TrainingPairs:
    """Given pairs, right or wrong.

    Attributes:
        features: region features of all images.
        captions: word indices of all captions.
        correspondence: the image given to each caption.
        augmentation: what training hides; None hides nothing.
    """

    features: FeatureStore
    captions: TokenTable
    correspondence: Correspondence
    augmentation: Augmentation | None

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
        features = self.features.take(given)  # (B, R, F)
        if not np.isfinite(features).all():
            bad = np.unique(given[~np.isfinite(features).all(axis=(1, 2))])
            raise DataError(
                f"features of {len(bad)} images in this batch hold NaN or infinite numbers "
                f"(first: image {bad[0]}); run 'robustcmr data check' on the folder and repair them"
            )
        mask = np.ones(features.shape[:2], dtype=np.bool_)
        tokens, token_mask = self.captions.padded(pair_ids)
        if generator is not None and self.augmentation is not None:
            mask = drop_regions(mask, self.augmentation.drop_regions, generator)
            features[~mask] = 0.0
            tokens, token_mask = corrupt_words(tokens, token_mask, self.augmentation, generator)
        return PairBatch(
            ImageBatch(torch.from_numpy(features), torch.from_numpy(mask)),
            TextBatch(torch.from_numpy(tokens), torch.from_numpy(token_mask)),
            torch.from_numpy(pair_ids),
            torch.from_numpy(given[:, None] == given[None, :]),
        )


def image_batches(
    features: FeatureStore, batch_size: int, images: IntArray | None = None
) -> Iterator[ImageBatch]:
    """All images in order, or those asked for, in batches."""
    chosen = np.arange(features.shape[0], dtype=np.int64) if images is None else images
    for start in range(0, len(chosen), batch_size):
        block = features.take(chosen[start : start + batch_size])
        yield ImageBatch(torch.from_numpy(block), torch.ones(block.shape[:2], dtype=torch.bool))


def text_batches(captions: TokenTable, batch_size: int) -> Iterator[TextBatch]:
    """All captions in order, in batches."""
    n = len(captions)
    for start in range(0, n, batch_size):
        tokens, mask = captions.padded(np.arange(start, min(start + batch_size, n), dtype=np.int64))
        yield TextBatch(torch.from_numpy(tokens), torch.from_numpy(mask))
