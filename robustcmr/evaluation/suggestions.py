"""Which other image of the training set each caption goes with best, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from robustcmr.errors import TrainingDivergedError
from robustcmr.evaluation.scoring import BLOCK_BYTES, encode_images, encode_texts, score_matrix
from robustcmr.matchers.base import Matcher
from robustcmr.types import FloatArray, ImageBatch, IntArray, TextBatch


@dataclass(frozen=True)
class Suggestions:
    """The best other image of each caption.

    Attributes:
        image: (N,) int64, or -1 where there is no other image.
        score: (N,) float32, its score; NaN where there is none.
    """

    image: IntArray
    score: FloatArray


def best_other_images(
    matcher: Matcher,
    candidates: IntArray,
    image_batches: Iterable[ImageBatch],
    text_batches: Iterable[TextBatch],
    given: IntArray,
    device: torch.device,
    block_bytes: int = BLOCK_BYTES,
) -> Suggestions:
    """Score every caption with some images, and keep the best that is not the one it was given.

    Args:
        matcher: any matcher, on ``device``.
        candidates: (k,) ascending image ids to choose from.
        image_batches: those images in order; they are encoded once and kept.
        text_batches: all N captions in order; one batch is encoded and scored at a time.
        given: (N,) image given to each caption.
        device: where to compute.
        block_bytes: memory one block of scores may use.

    Returns:
        One suggestion a caption; of equally good images the first.

    Raises:
        ValueError: there are no candidates, they do not ascend, the images are not as many as they are, or
            the captions not as many as the given images.
        TrainingDivergedError: a score is NaN or infinite.
    """
    if len(candidates) == 0:
        raise ValueError("there is no image to choose from; give at least one candidate")
    if (np.diff(candidates) <= 0).any():
        raise ValueError("the candidates must be ascending image ids, each once; sort them")
    images = encode_images(matcher, image_batches, device)
    if len(images) != len(candidates):
        raise ValueError(
            f"got {len(images)} images for {len(candidates)} candidates; give one image a candidate"
        )
    found_images, found_scores = [], []
    start = 0
    for batch in text_batches:
        texts = encode_texts(matcher, [batch], device)
        scores = score_matrix(matcher, images, texts, block_bytes).numpy()  # (k, b)
        own = given[start : start + len(batch)]  # (b,)
        start += len(batch)
        if start > len(given):
            break
        place = np.searchsorted(candidates, own).clip(max=len(candidates) - 1)
        columns = np.arange(len(own))
        scores[place, columns] = np.where(candidates[place] == own, -np.inf, scores[place, columns])
        best = scores.argmax(axis=0)  # (b,)
        top = scores[best, columns]  # NaN where any score is
        alone = np.isneginf(top)
        if not np.isfinite(top[~alone]).all():
            raise TrainingDivergedError(
                "a score is NaN or infinite, so no image can be suggested; train in float32"
            )
        found_images.append(np.where(alone, -1, candidates[best]))
        found_scores.append(np.where(alone, np.nan, top))
    if start != len(given):
        raise ValueError(f"got {start} captions for {len(given)} given images; give one image a caption")
    return Suggestions(
        np.concatenate(found_images).astype(np.int64), np.concatenate(found_scores).astype(np.float32)
    )
