"""Triplet hinge losses over the negatives of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.losses.checks import check_square
from robustcmr.losses.fusing import fusible


@fusible
def hinge_loss(scores: Tensor, margin: float, hardest: bool, same_image: Tensor | None = None) -> Tensor:
    """Hinge of every pair against the other captions and the other images of the batch.

    With s the scores, pair i costs ``[margin - s_ii + s_ij]+`` for captions j and
    ``[margin - s_ii + s_ji]+`` for images j, summed over all negatives j, or only the hardest of each
    direction.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        margin: wanted distance between the pair and a negative, in units of the score.
        hardest: take the largest hinge of each direction in place of the sum of all.
        same_image: (B, B) bool, cells that are no negatives; the diagonal never is.

    Returns:
        (B,) both directions added.

    References:
        Faghri et al., VSE++, BMVC 2018, equations 4 and 6.
    """
    check_square(scores, same_image)
    pair = scores.diagonal()
    excluded = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    if same_image is not None:
        excluded = excluded | same_image
    against_captions = (margin - pair[:, None] + scores).clamp(min=0).masked_fill(excluded, 0.0)  # (B, B)
    against_images = (margin - pair[None, :] + scores).clamp(min=0).masked_fill(excluded, 0.0)  # (B, B)
    if hardest:
        return against_captions.amax(dim=1) + against_images.amax(dim=0)
    return against_captions.sum(dim=1) + against_images.sum(dim=0)
