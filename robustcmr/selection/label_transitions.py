"""How labels went wrong: how often each class was given as each, from class probabilities and given labels.

No label is known to be right. But the more often given labels are right, the more often they are where the
probabilities look for them, and that is enough to estimate the rates by their likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_STEPS = 500
_TOLERANCE = 1e-7
_SURE = 1e-3
"""Rates are kept that far from certainty, so that no label becomes impossible."""


@dataclass(frozen=True)
class Transitions:
    """How true classes are given.

    Attributes:
        matrix: (K, K) float64, row a the probabilities with which class a is given as each class.
        kept: estimated share of labels that are right, whatever their class.
    """

    matrix: Tensor
    kept: float

    def likelihood(self, given: Tensor) -> Tensor:
        """(N, K) probability of each given class, were the true one each of the K.

        Args:
            given: (N,) int64 in 0..K-1.
        """
        return self.matrix[:, given].T


def estimate_transitions(
    probabilities: Tensor, given: Tensor, pseudo_counts: float | None = 200.0
) -> Transitions:
    """Estimate how true classes are given, by expectation maximisation.

    First one rate for all: a label is right with some probability and any other class otherwise. Then, for
    each class its own rates, drawn towards those by so many labels that were never seen.

    Args:
        probabilities: (N, K) >= 0, rows summing to 1, of the true class, made without a look at the pair's
            own given label; probabilities that follow the given labels make these look right too often.
        given: (N,) int64 in 0..K-1.
        pseudo_counts: how many labels of each class the common rate counts for, > 0; None for the common
            rate alone, which is the rule of symmetric noise.

    Returns:
        The estimate.

    Raises:
        ValueError: there are no labels or fewer than two classes, or the shapes do not fit.

    References:
        Dempster, Laird and Rubin, 1977, for the method; Patrini et al., CVPR 2017, for what the matrix is.
    """
    n, k = probabilities.shape
    if n == 0 or k < 2 or given.shape != (n,):
        raise ValueError(
            f"expected (N, K) probabilities of at least two classes and N given labels, got {(n, k)} and "
            f"{tuple(given.shape)}"
        )
    p = probabilities.detach().double()
    kept = _kept(p.gather(1, given[:, None]).squeeze(1), k)
    wrong = (1 - kept) / (k - 1)
    common = torch.full((k, k), wrong, dtype=p.dtype, device=p.device)
    common.fill_diagonal_(kept)
    if pseudo_counts is None:
        return Transitions(common, kept)
    return Transitions(_by_class(p, given, common, pseudo_counts), kept)


def _kept(of_given: Tensor, k: int) -> float:
    """Share of labels that are right, from the (N,) probabilities of the given ones."""
    of_others = (1 - of_given) / (k - 1)
    kept = 0.5
    for _ in range(_STEPS):
        right = kept * of_given
        total = right + (1 - kept) * of_others
        new = float((right / total.clamp(min=torch.finfo(total.dtype).tiny)).mean())
        change, kept = abs(new - kept), new
        if change < _TOLERANCE:
            break
    return min(max(kept, _SURE), 1 - _SURE)


def _by_class(p: Tensor, given: Tensor, common: Tensor, pseudo_counts: float) -> Tensor:
    """(K, K) rates of each class, drawn towards common ones."""
    k = len(common)
    seen = torch.nn.functional.one_hot(given, k).to(p)  # (N, K)
    matrix = common
    for _ in range(_STEPS):
        belongs = p * matrix[:, given].T  # (N, K)
        belongs = belongs / belongs.sum(1, keepdim=True).clamp(min=torch.finfo(p.dtype).tiny)
        counts = belongs.T @ seen + pseudo_counts * common
        new = counts / counts.sum(1, keepdim=True)
        change, matrix = float((new - matrix).abs().max()), new
        if change < _TOLERANCE:
            break
    return matrix
