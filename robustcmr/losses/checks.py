"""Shape checks shared by losses and corrections."""

from __future__ import annotations

import torch
from torch import Tensor


def check_square(scores: Tensor, same_image: Tensor | None = None) -> None:
    """Refuse scores that are not (B, B), and masks of another shape, by a ``ValueError``."""
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ValueError(
            f"scores must be (B, B), one caption an image, got {tuple(scores.shape)}; "
            "where images have several captions, take scores[image_of_caption]"
        )
    if same_image is not None and same_image.shape != scores.shape:
        raise ValueError(
            f"same_image must be {tuple(scores.shape)} like the scores, got {tuple(same_image.shape)}"
        )


def no_negatives(scores: Tensor, same_image: Tensor | None) -> Tensor:
    """Return the (B, B) cells that are no negatives: the diagonal, and those of the same image."""
    check_square(scores, same_image)
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return itself if same_image is None else same_image | itself


def allowed_mask(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """Return the mask of a matrix (n, m), all True where it is None; a ``ValueError`` for another shape."""
    if scores.ndim != 2:
        raise ValueError(f"expected a matrix (n, m), got {tuple(scores.shape)}")
    if allowed is None:
        return torch.ones_like(scores, dtype=torch.bool)
    if allowed.shape != scores.shape or allowed.dtype != torch.bool:
        raise ValueError(
            f"allowed must be bool of shape {tuple(scores.shape)} like the scores, "
            f"got {allowed.dtype} of shape {tuple(allowed.shape)}"
        )
    return allowed
