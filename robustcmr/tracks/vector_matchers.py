"""Check that a matcher can learn with class labels: its score is the cosine of one vector per side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.errors import DataError
from robustcmr.matchers.base import Matcher, evaluation_mode, pooled_vectors
from robustcmr.types import Fragments, ImageBatch, PairBatch, TextBatch

TOLERANCE = 1e-3
"""Largest difference of a score from the cosine, as half precision rounds."""

_SAME = 1e-6  # unit vectors that differ by no more are equal to the matcher
_ADVICE = "use one that does, such as --matcher two_tower or --matcher embeddings"

Batch = TypeVar("Batch", ImageBatch, TextBatch)


def check_vector_matcher(matcher: Matcher, batch: PairBatch, words_known: bool) -> int:
    """Refuse a matcher that cannot learn with class labels, after trying it on a batch on its device.

    Without ``words_known``, only vectors distinguish texts.

    Returns:
        D, the width of its vectors.

    Raises:
        DataError: it returns no pooled vector of an image or text, its score is not the cosine of the two, or
            it ignores the texts' vectors where only those are known.
    """
    name = type(matcher).__name__
    with evaluation_mode(matcher), torch.inference_mode():
        images, texts = matcher.encode_images(batch.images), matcher.encode_texts(batch.texts)
        scores = matcher.score(images, texts).float()  # (B, B)
    if images.pooled is None or texts.pooled is None:
        side = "image" if images.pooled is None else "text"
        raise DataError(
            f"{name} gives no single vector of each {side}, which learning with class labels needs; {_ADVICE}"
        )
    of_images, of_texts = (F.normalize(side.float(), dim=1) for side in (images.pooled, texts.pooled))
    if of_images.shape != of_texts.shape:
        raise DataError(
            f"{name} gives vectors of {of_images.shape[1]} numbers for images and {of_texts.shape[1]} for "
            f"texts, and learning with class labels needs both in one space; {_ADVICE}"
        )
    if not torch.allclose(scores, of_images @ of_texts.T, rtol=0.0, atol=TOLERANCE):
        raise DataError(
            f"{name} scores in another way than by the cosine of one vector an image and one a text, which "
            f"is what learning with class labels trains and measures; {_ADVICE}"
        )
    if not words_known and _reads_no_vectors(batch.texts, of_texts):
        raise DataError(
            f"{name} reads the words of texts, and this data has only their vectors; use a matcher that "
            "reads these, such as --matcher two_tower or --matcher embeddings"
        )
    return int(of_images.shape[1])


def _reads_no_vectors(texts: TextBatch, encoded: Tensor) -> bool:
    """Return whether texts with different vectors are all encoded alike."""
    if texts.vectors is None or bool((texts.vectors == texts.vectors[0]).all()):
        return False  # nothing to distinguish
    return float((encoded - encoded[0]).abs().max()) <= _SAME


def unit_vectors(
    matcher: Matcher,
    encode: Callable[[Batch], Fragments],
    batches: Iterable[Batch],
    device: torch.device,
    after_batch: Callable[[], None] | None = None,
) -> Tensor:
    """Encode one side of a split by the matcher's ``encode``, in evaluation mode and without gradients.

    Returns:
        (N, D) float32 of length 1, on ``device``.
    """
    parts = []
    with evaluation_mode(matcher), torch.inference_mode():
        for batch in batches:
            parts.append(F.normalize(pooled_vectors(encode(batch.to(device))).float(), dim=1))
            if after_batch is not None:
                after_batch()
    return torch.cat(parts)
