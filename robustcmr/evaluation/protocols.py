"""The protocols of the field: the whole split at once (5K), or folds of consecutive images averaged (1K)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustcmr.errors import UserError
from robustcmr.evaluation.ranking import owner_index
from robustcmr.evaluation.recall import RetrievalMetrics, mean_metrics, retrieval_metrics
from robustcmr.types import IntArray

BlockScorer = Callable[[slice, Tensor], Tensor]
"""Given consecutive images and (k,) int64 caption rows, their scores (n, k)."""


def fold_slices(n_images: int, folds: int) -> list[slice]:
    """Cut images 0..n_images-1 into folds of equally many consecutive ones.

    Raises:
        UserError: ``folds`` is below 1 or does not divide the number of images.
    """
    if folds < 1:
        raise UserError(f"got {folds} folds, expected at least 1; the usual protocol has 5")
    if n_images % folds:
        raise UserError(
            f"{n_images} images cannot be cut into {folds} folds of the same size; "
            "choose a number of folds that divides the images, or evaluate without folds"
        )
    size = n_images // folds
    return [slice(start, start + size) for start in range(0, n_images, size)]


def captions_of(image_of_caption: Tensor, images: slice) -> Tensor:
    """Caption rows (k,) int64, ascending, whose image lies in the slice."""
    inside = (image_of_caption >= images.start) & (image_of_caption < images.stop)  # (n_captions,)
    return torch.nonzero(inside).flatten()


def protocol_name(n_images: int, folds: int | None = None) -> str:
    """What the field calls it: such as ``5-fold 1K`` with folds; without, ``1K``, ``5K`` or ``full``."""
    if folds is not None:
        return f"{folds}-fold {_size_name(n_images // folds)}"
    return _size_name(n_images) if n_images in (1000, 5000) else "full"


def _size_name(n_images: int) -> str:
    return f"{n_images // 1000}K" if n_images and n_images % 1000 == 0 else str(n_images)


def block_metrics(
    score_block: BlockScorer, image_of_caption: IntArray | Tensor, n_images: int, folds: int = 5
) -> tuple[RetrievalMetrics, list[RetrievalMetrics]]:
    """Measure every fold by itself, scoring nothing across folds, and average.

    Args:
        score_block: gives the scores (n, k) of a slice of images with the caption rows (k,) it is handed.
        image_of_caption: (n_captions,) int64; every image has a caption.
        n_images: number of images of the split.
        folds: into how many folds of consecutive images; must divide ``n_images``.

    Returns:
        The mean over folds (its numbers of queries are totals), and each fold's metrics.

    Raises:
        UserError: the folds do not divide the images, or a score is NaN.
        ValueError: a block has the wrong shape, or an image has no caption.
    """
    owner = owner_index(image_of_caption, n_images).cpu()
    parts = []
    for images in fold_slices(n_images, folds):
        captions = captions_of(owner, images)
        scores = score_block(images, captions)
        expected = (images.stop - images.start, captions.shape[0])
        if tuple(scores.shape) != expected:
            name = f"{images.start}..{images.stop - 1}"
            raise ValueError(f"the block of images {name} is {tuple(scores.shape)}, expected {expected}")
        parts.append(retrieval_metrics(scores, owner[captions] - images.start))
    return mean_metrics(parts), parts


def fold_metrics(
    scores: Tensor, image_of_caption: IntArray | Tensor, folds: int = 5
) -> tuple[RetrievalMetrics, list[RetrievalMetrics]]:
    """Measure the folds of a score matrix that is already there; only its diagonal blocks are read.

    Args:
        scores: (n_images, n_captions) float, larger is closer.
        image_of_caption: (n_captions,) int64; every image has a caption.
        folds: into how many folds of consecutive images; must divide ``n_images``.

    Returns:
        The mean over folds, and each fold's metrics.

    Raises:
        UserError: the folds do not divide the images, or a score in a block is NaN.
        ValueError: the shapes do not fit, or an image has no caption.
    """
    if scores.ndim != 2 or scores.shape[1] != len(image_of_caption):
        raise ValueError(
            f"scores are {tuple(scores.shape)} for {len(image_of_caption)} captions; give one column each"
        )

    def diagonal(images: slice, captions: Tensor) -> Tensor:
        return torch.index_select(scores[images], 1, captions.to(scores.device))

    return block_metrics(diagonal, image_of_caption, scores.shape[0], folds)
