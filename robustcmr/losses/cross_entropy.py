"""Softmax losses over the batch: InfoNCE, and cross entropy with its reverse."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustcmr.losses.checks import check_square
from robustcmr.losses.fusing import fusible


def log_matching_probabilities(
    scores: Tensor, temperature: float, same_image: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Log probabilities that image i picks caption j, and that caption i picks image j.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        temperature: tau > 0, in units of the score.
        same_image: (B, B) bool, cells besides the diagonal that take no part (probability 0).

    Returns:
        Two (B, B) matrices, rows sum to 1 after ``exp``: image to text, and text to image (row = caption).
    """
    logits = _logits(scores, temperature, same_image)
    return logits.log_softmax(dim=1), logits.T.log_softmax(dim=1)


def _logits(scores: Tensor, temperature: float, same_image: Tensor | None) -> Tensor:
    """Scores over the temperature, -inf where cells take no part."""
    check_square(scores, same_image)
    logits = scores / temperature
    if same_image is None:
        return logits
    others = same_image & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return logits.masked_fill(others, -math.inf)


@fusible
def infonce_loss(scores: Tensor, temperature: float, same_image: Tensor | None = None) -> Tensor:
    """Cross entropy of the given pair among the batch, mean of both directions.

    Args:
        scores: (B, B) float, pairs on the diagonal.
        temperature: tau > 0.
        same_image: (B, B) bool, cells that are no negatives.

    Returns:
        (B,) one value a pair.

    References:
        van den Oord et al., 2018; Radford et al., CLIP, 2021.
    """
    logits = _logits(scores, temperature, same_image)
    # the diagonals of both matrices of log probabilities, without making these
    return 0.5 * (logits.logsumexp(1) + logits.logsumexp(0)) - logits.diagonal()


@fusible
def robust_cross_entropy_loss(
    scores: Tensor, temperature: float, same_image: Tensor | None = None, floor: float = 1e-7
) -> Tensor:
    """Cross entropy plus reverse cross entropy, halved: the warm-up loss of L2RM.

    With p the matching probabilities and I the identity, CE_i = -log p_ii and
    RCE_i = -sum_j p_ij log(I_ij + floor). RCE is bounded by -log(floor), which tempers the pull of pairs that
    are wrong.

    Args:
        scores: (B, B) float, pairs on the diagonal.
        temperature: tau > 0.
        same_image: (B, B) bool, cells that are no negatives.
        floor: what stands in for log 0, > 0.

    Returns:
        (B,) ``0.5 * (RCE_i2t + RCE_t2i + CE_i2t + CE_t2i)``, one value a pair.

    References:
        Han et al., L2RM, CVPR 2024; Wang et al., Symmetric Cross Entropy, ICCV 2019.
    """
    total = scores.new_zeros(len(scores))
    for log_p in log_matching_probabilities(scores, temperature, same_image):
        log_pair = log_p.diagonal()
        pair = log_pair.exp()
        reverse = -(1 - pair) * math.log(floor) - pair * math.log1p(floor)
        total = total + reverse - log_pair
    return 0.5 * total
