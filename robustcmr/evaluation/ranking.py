"""The rank of the right answer in every row and column of a score matrix, by counting instead of sorting.

    rank(query) = #{wrong items with score >= the best score of a right item}

Ties count against the scorer, so a constant scorer ranks every answer last. Captions of one image are never
wrong for each other.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from robustcmr.errors import UserError
from robustcmr.types import IntArray

_BLOCK_CELLS = 1 << 22  # compared at once: bounds the extra memory to a few MiB
_COMPILED_CELLS = 1 << 22  # smaller matrices are counted by tensors, which need no loading


def ranks_both_ways(scores: Tensor, image_of_caption: IntArray | Tensor) -> tuple[Tensor, Tensor]:
    """Rank the best own caption of every image, and the right image of every caption.

    A large matrix on the CPU is read once by a loop compiled by numba; others by tensor operations.

    Args:
        scores: (n_images, n_captions) float on any device; larger is closer; infinities are allowed.
        image_of_caption: (n_captions,) int64, the image each caption was written for, in 0..n_images-1.

    Returns:
        (n_images,) int64, how many captions of other images score at least as high as the best own caption,
        and (n_captions,) int64, how many other images score at least as high as the right one; 0 is best.
        Both on the scores' device.

    Raises:
        ValueError: the shapes do not fit, an index is out of range, or an image has no caption.
        UserError: a score is NaN.
    """
    owner = _checked_owner(scores, image_of_caption)
    own = scores[owner, torch.arange(len(owner), device=owner.device)]  # (n_captions,)
    best = own.new_full((scores.shape[0],), -torch.inf).scatter_reduce(0, owner, own, "amax")  # (n_images,)
    by_image, by_caption = _counts(scores, best, own)
    # The counts include the best own caption, own captions tied with it, and the right image itself.
    return by_image.index_add(0, owner, -(own >= best[owner]).long()), by_caption - 1


def owner_index(image_of_caption: IntArray | Tensor, n_images: int) -> Tensor:
    """Return an (n_captions,) int64 pairing as a checked tensor, on its device or the CPU.

    Raises:
        ValueError: it is no int64 vector, an index is out of range, or an image has no caption.
    """
    if isinstance(image_of_caption, np.ndarray):
        owner = torch.from_numpy(image_of_caption.copy())  # a copy, as the array may be read-only
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


def _counts(scores: Tensor, best: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Count the cells of each row that reach ``best`` (n_images,), of each column ``own`` (n_captions,).

    NaN is refused: it compares as False and would look like a perfect rank.
    """
    if _suits_loop(scores):
        from robustcmr.evaluation import rank_kernels

        found = rank_kernels.counts(scores, best, own)
    else:
        found = _block_counts(scores, best, own)
    if found is None:
        raise UserError(
            "the score matrix holds NaN where every image-caption score must be a number; "
            "check the model's weights and features for NaN or overflow"
        )
    return found


def _suits_loop(scores: Tensor) -> bool:
    """Whether the compiled loop takes these scores, and is worth loading."""
    return (
        scores.numel() >= _COMPILED_CELLS
        and scores.device.type == "cpu"
        and scores.dtype in (torch.float32, torch.float64)
        and scores.is_contiguous()
        and find_spec("numba") is not None
    )


def _block_counts(scores: Tensor, best: Tensor, own: Tensor) -> tuple[Tensor, Tensor] | None:
    by_image = torch.empty(scores.shape[0], dtype=torch.int64, device=scores.device)
    by_caption = torch.zeros(scores.shape[1], dtype=torch.int64, device=scores.device)
    size = max(1, _BLOCK_CELLS // scores.shape[1])
    for start in range(0, scores.shape[0], size):
        rows = slice(start, start + size)
        block = scores[rows]
        if bool(torch.isnan(block.amin())):  # the minimum is NaN if any cell is
            return None
        by_image[rows] = torch.count_nonzero(block >= best[rows, None], dim=1)
        by_caption += torch.count_nonzero(block >= own, dim=0)
    return by_image, by_caption
