"""The rank of the right answer in every row and column of a score matrix, by counting instead of sorting.

Ties are counted against the scorer: every wrong item that scores at least as high as the right one stands
ahead of it, so a scorer that says the same of everything earns nothing. Captions of one image are never wrong
for each other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from robustcmr.errors import UserError
from robustcmr.types import IntArray

_BLOCK_CELLS = 1 << 22  # cells compared at once: bounds the extra memory to a few MiB


def image_to_text_ranks(scores: Tensor, image_of_caption: IntArray | Tensor) -> Tensor:
    """Rank of the best-ranked own caption of every image.

    Args:
        scores: (n_images, n_captions) float on any device; larger is closer; infinities are allowed.
        image_of_caption: (n_captions,) int64, the image each caption was written for, in 0..n_images-1.

    Returns:
        (n_images,) int64 on the scores' device: how many captions of other images score at least as high as
        the best own caption; 0 is best.

    Raises:
        ValueError: the shapes do not fit, an index is out of range, or an image has no caption.
        UserError: a score is NaN.
    """
    owner = _checked_owner(scores, image_of_caption)
    own = _own_scores(scores, owner)  # (n_captions,)
    best = own.new_full((scores.shape[0],), -torch.inf).scatter_reduce(0, owner, own, "amax")  # (n_images,)
    ahead = torch.empty(scores.shape[0], dtype=torch.int64, device=scores.device)
    for rows, block in _row_blocks(scores):
        ahead[rows] = torch.count_nonzero(block >= best[rows, None], dim=1)
    # The best own caption, and own captions level with it, were counted too.
    return ahead.index_add(0, owner, -(own >= best[owner]).long())


def text_to_image_ranks(scores: Tensor, image_of_caption: IntArray | Tensor) -> Tensor:
    """Rank of the right image of every caption.

    Args:
        scores: (n_images, n_captions) float on any device; larger is closer; infinities are allowed.
        image_of_caption: (n_captions,) int64, the image each caption was written for, in 0..n_images-1.

    Returns:
        (n_captions,) int64 on the scores' device: how many other images score at least as high as the right
        one; 0 is best.

    Raises:
        ValueError: the shapes do not fit, an index is out of range, or an image has no caption.
        UserError: a score is NaN.
    """
    owner = _checked_owner(scores, image_of_caption)
    own = _own_scores(scores, owner)  # (n_captions,)
    ahead = torch.full_like(owner, -1)  # the right image itself is counted below
    for _, block in _row_blocks(scores):
        ahead += torch.count_nonzero(block >= own, dim=0)
    return ahead


def owner_index(image_of_caption: IntArray | Tensor, n_images: int) -> Tensor:
    """The pairing as a checked tensor.

    Args:
        image_of_caption: (n_captions,) int64.
        n_images: number of images; each must have a caption.

    Returns:
        (n_captions,) int64 on the device it was on (the CPU for an array).

    Raises:
        ValueError: it is no int64 vector, an index is out of range, or an image has no caption.
    """
    if isinstance(image_of_caption, np.ndarray):
        owner = torch.from_numpy(image_of_caption.copy())  # a copy, for the array may be read-only
    else:
        owner = image_of_caption
    if owner.ndim != 1 or owner.dtype != torch.int64:
        raise ValueError(
            f"image_of_caption must be a vector of int64, got {owner.dtype} of shape {tuple(owner.shape)}"
        )
    if owner.numel() == 0:
        raise ValueError("image_of_caption is empty, so there is nothing to rank")
    low, high = int(owner.min()), int(owner.max())
    if low < 0 or high >= n_images:
        raise ValueError(f"image_of_caption must lie in 0..{n_images - 1}, got {low}..{high}")
    captions = torch.bincount(owner, minlength=n_images)
    if not bool(captions.all()):
        first = int((captions == 0).nonzero()[0])
        raise ValueError(
            f"image {first} has no caption, so it has no rank; leave out images without captions first"
        )
    return owner


def _checked_owner(scores: Tensor, image_of_caption: IntArray | Tensor) -> Tensor:
    if scores.ndim != 2 or not scores.is_floating_point():
        raise ValueError(f"scores must be a float matrix, got {scores.dtype} of shape {tuple(scores.shape)}")
    owner = owner_index(image_of_caption, scores.shape[0])
    if owner.shape[0] != scores.shape[1]:
        raise ValueError(
            f"got {scores.shape[1]} columns of scores for {owner.shape[0]} captions; give one a caption"
        )
    return owner.to(scores.device)


def _own_scores(scores: Tensor, owner: Tensor) -> Tensor:
    return scores[owner, torch.arange(owner.shape[0], device=owner.device)]


def _row_blocks(scores: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Consecutive rows, refusing NaN on the way: it compares as False and would look like a perfect rank."""
    size = max(1, _BLOCK_CELLS // scores.shape[1])
    for start in range(0, scores.shape[0], size):
        rows = slice(start, start + size)
        block = scores[rows]
        if bool(torch.isnan(block.amin())):  # the minimum is NaN if any cell is
            raise UserError(
                "the score matrix holds NaN where every image-caption score must be a number; "
                "check the model's weights and features for NaN or overflow"
            )
        yield rows, block
