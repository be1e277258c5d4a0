"""How labels went wrong: rates at which each true class is given as each class.

With class probabilities p_i, given labels y_i and K classes, by expectation maximisation:

    common rate   kept <- mean_i  kept p_i(y_i) / (kept p_i(y_i) + (1 - kept) (1 - p_i(y_i)) / (K - 1))
    by class      r_ia = p_ia T_{a y_i} / sum_b p_ib T_{b y_i},    T_ab proportional to
                  sum_i r_ia [y_i = b] + pseudo_counts T0_ab,      T0 the matrix of the common rate

No label is known to be right; the more labels are right, the more often they agree with the probabilities.
Both iterations stop after 500 steps, with the last estimate, if they have not converged before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays

_STEPS = 500
_TOLERANCE = 1e-7
_SURE = 1e-3
"""Rates stay within _SURE .. 1 - _SURE, so that no label becomes impossible."""


@dataclass(frozen=True)
class Transitions:
    """Estimated label noise.

    Attributes:
        matrix: T, (K, K) float64, T_ab the probability that true class a is given as class b.
        kept: estimated share of labels that are right, over all classes.
    """

    matrix: Tensor
    kept: float

    def likelihood(self, given: Tensor) -> Tensor:
        """(N, K) probability of each given label under each true class.

        Args:
            given: (N,) int64 in 0..K-1.
        """
        return self.matrix[:, given].T


@takes_arrays()
def estimate_transitions(
    probabilities: Tensor, given: Tensor, pseudo_counts: float | None = 200.0
) -> Transitions:
    """Estimate the common rate of right labels, then rates by class that are shrunk towards it.

    Args:
        probabilities: p, (N, K) >= 0, rows summing to 1, made without using the pair's own given label;
            otherwise too many labels look right.
        given: y, (N,) int64 in 0..K-1.
        pseudo_counts: weight of the common rate, in labels of each class, > 0; None for the common rate
            alone, as for symmetric noise.

    Raises:
        ValueError: there are no labels or fewer than two classes, or the shapes do not fit.

    Example:
        >>> import torch
        >>> sure = torch.eye(2).repeat(50, 1)  # 100 pairs, classes 0 and 1 in turn
        >>> given = torch.arange(100) % 2
        >>> given[:20] = 0  # ten labels of class 1 are wrong
        >>> round(estimate_transitions(sure, given, pseudo_counts=None).kept, 2)
        0.9

    References:
        Dempster, Laird and Rubin, 1977, for the method; Patrini et al., CVPR 2017, for the matrix.
    """
    n, k = probabilities.shape if probabilities.ndim == 2 else (0, 0)
    if n == 0 or k < 2 or given.shape != (n,):
        raise ValueError(
            "expected (N, K) probabilities of at least two classes and N given labels, got "
            f"{tuple(probabilities.shape)} and {tuple(given.shape)}"
        )
    if not 0 <= int(given.amin()) <= int(given.amax()) < k:
        raise ValueError(f"given labels must lie in 0..{k - 1}, got {int(given.amin())}..{int(given.amax())}")
    p, given = probabilities.detach().double(), given.long()
    kept = _kept(p.gather(1, given[:, None]).squeeze(1), k)
    wrong = (1 - kept) / (k - 1)
    common = torch.full((k, k), wrong, dtype=p.dtype, device=p.device)
    common.fill_diagonal_(kept)
    if pseudo_counts is None:
        return Transitions(common, kept)
    return Transitions(_by_class(p, given, common, pseudo_counts), kept)


def _kept(of_given: Tensor, k: int) -> float:
    """The common rate, from the (N,) probabilities of the given labels."""
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
    """(K, K) rates by class, shrunk towards the common ones."""
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
