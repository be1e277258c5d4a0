"""Softmax losses over the batch: InfoNCE, and cross entropy with its reverse.

With p_ij = softmax_j(s_ij / tau), q the same of the transposed scores and I the identity:

    InfoNCE_i = -(log p_ii + log q_ii) / 2
    RCE_i     = -sum_j p_ij log(I_ij + floor),  which is at most -log(floor)

Any score matrix will do, as a tensor or a NumPy array. Gradients reach the scores; values have their type, on
their device. Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import check_square
from robustcmr.losses.fusing import fusible


@takes_arrays("temperature")
def log_matching_probabilities(
    scores: Tensor, temperature: float = 0.05, same_image: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return log p and log q: image i picks caption j, and caption i picks image j.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        temperature: tau > 0, in units of the score: 0.05 suits cosines, 1 suits logits.
        same_image: (B, B) bool, cells besides the diagonal that are excluded (probability 0).

    Returns:
        Two (B, B) matrices whose rows sum to 1 after ``exp``; rows of the second are captions. Both are
        in the type and on the device of the scores, with their gradient.

    Example:
        >>> import torch
        >>> log_p, log_q = log_matching_probabilities(torch.eye(2), temperature=1.0)
        >>> log_p.exp()
        tensor([[0.7311, 0.2689],
                [0.2689, 0.7311]])
    """
    logits = _logits(scores, temperature, same_image)
    return logits.log_softmax(dim=1), logits.T.log_softmax(dim=1)


@takes_arrays("temperature")
def match_probability(scores: Tensor, temperature: float = 0.05, same_image: Tensor | None = None) -> Tensor:
    """Return the probability of each pair: that its image and caption pick each other, (p_ii + q_ii) / 2.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        temperature: tau > 0, in units of the score: 0.05 suits cosines, 1 suits logits.
        same_image: (B, B) bool, cells that are no candidates.

    Returns:
        (B,) in 0..1, at least float32, on the device of the scores, with their gradient.

    Example:
        >>> import torch
        >>> match_probability(torch.tensor([[0.9, 0.8], [0.1, 0.5]]), temperature=0.1)
        tensor([0.8654, 0.5147])
    """
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    log_p, log_q = log_matching_probabilities(wide, temperature, same_image)
    return 0.5 * (log_p.diagonal().exp() + log_q.diagonal().exp())


def _logits(scores: Tensor, temperature: float, same_image: Tensor | None) -> Tensor:
    """Scores over the temperature, -inf in excluded cells."""
    check_square(scores, same_image)
    logits = scores / temperature
    if same_image is None:
        return logits
    others = same_image & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return logits.masked_fill(others, -math.inf)


@takes_arrays("temperature")
@fusible
def infonce_loss(scores: Tensor, temperature: float = 0.05, same_image: Tensor | None = None) -> Tensor:
    """Return the cross entropy of the given pair among the batch, mean of both directions.

    Args:
        scores: (B, B) float, pairs on the diagonal.
        temperature: tau > 0, in units of the score: 0.05 suits cosines, 1 suits logits.
        same_image: (B, B) bool, cells that are no negatives.

    Returns:
        (B,) one value a pair, >= 0, in the type and on the device of the scores, with their gradient.

    Example:
        >>> import torch
        >>> infonce_loss(torch.tensor([[0.9, 0.8], [0.1, 0.5]]), temperature=0.1)
        tensor([0.1568, 1.5334])

    References:
        van den Oord et al., 2018; Radford et al., CLIP, 2021.
    """
    logits = _logits(scores, temperature, same_image)
    # -log p_ii and -log q_ii without forming both matrices
    return 0.5 * (logits.logsumexp(1) + logits.logsumexp(0)) - logits.diagonal()


@takes_arrays("temperature", "floor")
@fusible
def robust_cross_entropy_loss(
    scores: Tensor, temperature: float = 0.05, same_image: Tensor | None = None, floor: float = 1e-7
) -> Tensor:
    """Return cross entropy plus reverse cross entropy, halved: the warm-up loss of L2RM.

    The reverse term is bounded, which limits the pull of mismatched pairs.

    Args:
        scores: (B, B) float, pairs on the diagonal.
        temperature: tau > 0, in units of the score: 0.05 suits cosines, 1 suits logits.
        same_image: (B, B) bool, cells that are no negatives.
        floor: > 0, replaces 0 inside the logarithm.

    Returns:
        (B,) ``(RCE_i2t + RCE_t2i + CE_i2t + CE_t2i) / 2``, one value a pair, in the type and on the
        device of the scores, with their gradient.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.8], [0.1, 0.5]])
        >>> robust_cross_entropy_loss(scores, temperature=0.1, floor=0.01)
        tensor([0.7682, 3.7630])

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
