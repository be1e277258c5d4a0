"""Find the best-scoring other image of each caption, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from robustcmr.errors import TrainingDivergedError
from robustcmr.evaluation.scoring import BLOCK_BYTES, encode_images, encode_texts, score_matrix
from robustcmr.matchers.base import Matcher
from robustcmr.types import FloatArray, ImageBatch, IntArray, TextBatch


def best_other_images(
    matcher: Matcher,
    candidates: IntArray,
    image_batches: Iterable[ImageBatch],
    text_batches: Iterable[TextBatch],
    given: IntArray,
    device: torch.device,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[IntArray, FloatArray]:
    """Score every caption with some images, and return the best other than the given one.

    Args:
        matcher: any matcher, on ``device``.
        candidates: (k,) ascending image ids to choose from.
        image_batches: those images in order; encoded once and kept.
        text_batches: all N captions in order; encoded and scored batch by batch.
        given: (N,) image given to each caption.
        device: where to compute.
        block_bytes: memory of a block of scores, in bytes.

    Returns:
        (N,) int64, the image suggested for each caption, of ties the first, -1 if there is no other; and (N,)
        float32, its score, NaN if there is none.

    Raises:
        ValueError: there are no candidates, they do not ascend, or the number of images or captions differs
            from that of candidates or given images.
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
    return np.concatenate(found_images).astype(np.int64), np.concatenate(found_scores).astype(np.float32)
