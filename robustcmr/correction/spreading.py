"""Soft targets that spread doubt in the given pair over the other pairs of the batch.

With scores s, confidence y_i in pair i, and the others N_i of pair i (not of the same image):

    target of image i     y_i at caption i,  (1 - y_i) [s_ij]+ / sum_{k in N_i} [s_ik]+  at caption j in N_i

and of captions likewise, along the columns. Negative scores, which cosines have and the sigmoid scores of the
paper do not, take no part; where no other has a positive score, all take equal parts. A pair without others
keeps its y alone.

Scores may be a tensor or a NumPy array. Targets are detached, at least float32, on the scores' device. Shapes
that do not fit raise ``ValueError``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import no_negatives


@takes_arrays()
def spread_targets(
    scores: Tensor, confidence: Tensor, same_image: Tensor | None = None, least: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return soft targets of both directions, for ``soft_cross_entropy_loss``.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        confidence: y, (B,) in 0..1, that the given pair is right.
        same_image: (B, B) bool, symmetric, cells that get no target; the diagonal always does.
        least: targets off the diagonal below it become 0; the rest is not normalised again.

    Returns:
        (B, B) target captions of each image and (B, B) target images of each caption, both with y on the
        diagonal. With ``least`` 0, rows sum to 1 where a pair has others.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.1, 0.3], [0.2, 0.8, -0.5], [0.0, 0.0, 0.7]])
        >>> spread_targets(scores, torch.tensor([0.6, 0.9, 1.0]))[0]
        tensor([[0.6000, 0.1000, 0.3000],
                [0.1000, 0.9000, 0.0000],
                [0.0000, 0.0000, 1.0000]])

    References:
        CREAM, TIP 2024, soft targets.
    """
    excluded = no_negatives(scores, same_image)
    if confidence.shape != scores.shape[:1]:
        raise ValueError(f"confidence must be ({len(scores)},), one a pair, got {tuple(confidence.shape)}")
    wide = scores.detach().to(torch.promote_types(scores.dtype, torch.float32))
    y = confidence.detach().to(wide)
    return _spread(wide, y, excluded, least), _spread(wide.T, y, excluded.T, least)


def _spread(scores: Tensor, y: Tensor, excluded: Tensor, least: float) -> Tensor:
    positive = scores.clamp(min=0).masked_fill(excluded, 0.0)  # (B, B)
    even = torch.ones_like(scores).masked_fill(excluded, 0.0)
    parts = torch.where(positive.sum(1, keepdim=True) > 0, positive, even)
    shares = parts / parts.sum(1, keepdim=True).clamp(min=torch.finfo(parts.dtype).tiny)
    others = (1 - y)[:, None] * shares
    return torch.where(others < least, 0.0, others) + torch.diag(y)
