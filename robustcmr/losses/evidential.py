"""Evidential loss: every image is a Dirichlet distribution over the captions of its batch, and vice versa.

With evidence e_ij = exp(tanh(s_ij) / tau), alpha = e + 1, S_i = sum_j alpha_ij and p_ij = alpha_ij / S_i, row
i with target t_i (1 at the pair, or 0 everywhere for a mismatched pair) loses

    sum_j (t_ij - p_ij)^2 + sum_j p_ij (1 - p_ij) / (S_i + 1) + lambda KL(Dir(alpha'_i) | Dir(1))

where alpha' = t + (1 - t) alpha has no evidence for the target. Columns lose the same with e transposed.

Any score matrix will do, as a tensor or a NumPy array. Gradients reach the scores. Values are at least
float32, on the scores' device; in between they are float64 where the device has it, as the log gamma terms of
the KL divergence reach 10^7 and nearly cancel. Shapes that do not fit and numbers out of range raise
``ValueError``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import no_negatives


@takes_arrays("temperature")
def evidential_loss(
    scores: Tensor,
    matched: Tensor | None = None,
    temperature: float = 0.1,
    kl_weight: float = 0.1,
    same_image: Tensor | None = None,
    raw: bool = False,
) -> Tensor:
    """Return the evidential loss of every pair, sum of both directions.

    A pair that is not matched keeps its row and column: all their evidence is penalised.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        matched: (B,) in 0..1 or bool, target of each pair; None for 1.
        temperature: tau > 0; 0.1 gives evidence from e^-10 to e^10.
        kl_weight: lambda >= 0.
        same_image: (B, B) bool, cells besides the diagonal that are excluded.
        raw: take the KL divergence of alpha itself, as the released code does, which penalises the evidence
            of matched pairs, too.

    Returns:
        (B,) >= 0, at least float32, on the device of the scores, with their gradient.

    Example:
        >>> import torch
        >>> evidential_loss(torch.tensor([[0.9, 0.1], [0.2, 0.5]]))
        tensor([0.1807, 0.1959])
        >>> evidential_loss(torch.tensor([[0.9, 0.1], [0.2, 0.5]]), matched=torch.tensor([1, 0]))
        tensor([0.1807, 2.2989])

    References:
        Qin et al., Deep Evidential Learning with Noisy Correspondence for Cross-Modal Retrieval (DECL), ACM
        MM 2022; Sensoy et al., Evidential Deep Learning, NeurIPS 2018, equation 5 and the KL term.
    """
    alpha, cells = _dirichlet(scores, temperature, same_image)
    if matched is None:
        matched = alpha.new_ones(len(alpha))
    if matched.shape != (len(alpha),):
        raise ValueError(f"matched must be ({len(alpha)},), one a pair, got {tuple(matched.shape)}")
    target = torch.diag(matched.to(alpha))  # (B, B)
    total = alpha.new_zeros(len(alpha))
    for each, counted in ((alpha, cells), (alpha.T, cells.T)):
        p, strength = _mean(each, counted)
        fit = (target - p).square() + p * (1 - p) / (strength + 1)
        judged = each if raw else target + (1 - target) * each
        total = total + fit.sum(1) + kl_weight * dirichlet_divergence(judged, counted)
    return total.to(torch.promote_types(scores.dtype, torch.float32))


@takes_arrays("temperature")
def evidential_uncertainty(
    scores: Tensor, temperature: float = 0.1, same_image: Tensor | None = None
) -> Tensor:
    """Return how little evidence image and caption of each pair have: K / S, summed over both directions.

    Args:
        scores: (B, B) float, pairs on the diagonal.
        temperature: tau > 0.
        same_image: (B, B) bool, cells besides the diagonal that are excluded.

    Returns:
        (B,) in 0..2, 2 where there is no evidence; at least float32, on the device of the scores.

    Example:
        >>> import torch
        >>> evidential_uncertainty(torch.tensor([[0.9, -0.9], [-0.9, -0.9]]))
        tensor([0.0031, 1.9985])

    References:
        Qin et al., DECL, ACM MM 2022.
    """
    alpha, cells = _dirichlet(scores, temperature, same_image)
    found = alpha.new_zeros(len(alpha))
    for each, counted in ((alpha, cells), (alpha.T, cells.T)):
        found = found + counted.sum(1) / _mean(each, counted)[1].squeeze(1)
    return found.to(torch.promote_types(scores.dtype, torch.float32))


def dirichlet_divergence(alpha: Tensor, cells: Tensor) -> Tensor:
    """Return KL(Dir(alpha) | Dir(1)) of each row over its cells.

    Args:
        alpha: (n, m) >= 1, in float64 for exact values.
        cells: (n, m) bool, at least one a row.

    Returns:
        (n,) >= 0 up to rounding.

    Example:
        >>> import torch
        >>> dirichlet_divergence(torch.tensor([[1.0, 1.0], [3.0, 1.0]]), torch.ones(2, 2, dtype=torch.bool))
        tensor([0.0000, 0.4319])
    """
    alpha = torch.where(cells, alpha, 1.0)  # such a cell adds nothing below
    strength = torch.where(cells, alpha, 0.0).sum(1)
    uniform = cells.sum(1).to(alpha)
    logs = torch.lgamma(strength) - torch.lgamma(uniform) - torch.lgamma(alpha).sum(1)
    expected = torch.digamma(alpha) - torch.digamma(strength)[:, None]  # of log p
    return logs + ((alpha - 1) * expected).sum(1)


def _dirichlet(scores: Tensor, temperature: float, same_image: Tensor | None) -> tuple[Tensor, Tensor]:
    """Alpha (B, B), and the cells that take part."""
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    cells = ~no_negatives(scores, same_image) | itself
    wide = torch.float32 if scores.device.type == "mps" else torch.float64
    return (torch.tanh(scores.to(wide)) / temperature).exp() + 1, cells


def _mean(alpha: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Mean p (B, B), 0 where a cell does not take part, and strength (B, 1) of each row."""
    counted = torch.where(cells, alpha, 0.0)
    strength = counted.sum(1, keepdim=True)
    return counted / strength, strength
