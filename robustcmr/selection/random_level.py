"""Weights of pairs by how far their score exceeds the level of random pairs.

With the score s of a pair and the mean score beta of random pairs:

    x = max(0, s - beta),    w = x^2 (1 - x^2)

A pair below the level has no weight. The weight has its peak 1/4 at x = 0.707 and falls to 0 at x = 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import no_negatives


@takes_arrays()
def given_and_random_scores(scores: Tensor, same_image: Tensor | None = None) -> Tensor:
    """Return the score of every given pair, and the mean score of its mismatches in the batch.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        same_image: (B, B) bool, symmetric, cells that are no mismatches; the diagonal never is.

    Returns:
        (B, 2), the latter over both directions; NaN without mismatches. At least float32, on the device of
        the scores.

    Example:
        >>> import torch
        >>> given_and_random_scores(torch.tensor([[0.9, 0.1], [0.3, 0.5]]))
        tensor([[0.9000, 0.2000],
                [0.5000, 0.2000]])
    """
    mismatched = ~no_negatives(scores, same_image)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    others = torch.where(mismatched, scores + scores.T, 0.0).sum(1) / 2
    return torch.stack([scores.diagonal(), others / mismatched.sum(1)], dim=1)


@takes_arrays()
def random_level_weights(above: Tensor, relative: bool = False) -> Tensor:
    """Return the weight of every pair, x^2 (1 - x^2).

    Args:
        above: (B,) s - beta, scores above the level of random pairs.
        relative: divide x by the largest of the batch first, as the released code does. The best pair of each
            batch then has weight 0.

    Returns:
        (B,) in 0..0.25, on the device of ``above``.

    Example:
        >>> import torch
        >>> random_level_weights(torch.tensor([-0.1, 0.3, 0.6]))
        tensor([0.0000, 0.0819, 0.2304])
        >>> random_level_weights(torch.tensor([-0.1, 0.3, 0.6]), relative=True)
        tensor([0.0000, 0.1875, 0.0000])

    References:
        Li et al., One-step Noisy Label Mitigation (OSA), arXiv 2410.01944, 2024, its weight function.
        Departure: x is limited to 1, beyond which w would be negative.
    """
    x = above.clamp(0.0, 1.0)
    if relative:
        x = above.clamp(min=0.0)
        most = x.max() if len(x) else x.sum()
        x = x / torch.where(most > 0, most, 1.0)
    square = x.square()
    return square * (1 - square)
