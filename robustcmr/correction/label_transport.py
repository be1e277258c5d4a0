"""Label correction by transport: samples move to classes, the most certain first.

    min <C, P> - epsilon H(P)   s.t.  P 1 <= 1/N,  P' 1 <= prior,  sum P = mass
    C = -log p / max(-log p);   target of sample i  P_i / sum_k P_ik,  weight N sum_k P_ik

If the scalings run out, the last plan is used; a target is then off by about the tolerance, 1e-4 of the mass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.transport import balanced_plan, partial_plan

_LEAST = 1e-6
"""Replaces a probability of 0 in a cost."""
_TOLERANCE = 1e-4
_ROUNDED = 1e-2  # what rounding to bfloat16 may add to a probability


@dataclass(frozen=True)
class LabelTargets:
    """Corrected class distributions.

    Attributes:
        targets: (N, K), rows summing to 1.
        weights: (N,) in 0..1, the share of each sample's mass that was moved.
    """

    targets: Tensor
    weights: Tensor


@takes_arrays()
def label_targets(probabilities: Tensor, prior: Tensor, mass: float, epsilon: float = 0.1) -> LabelTargets:
    """Move a share of the samples to classes at least cost, no class receiving more than its prior.

    Args:
        probabilities: p, (N, K) in 0..1, class probabilities of each sample.
        prior: (K,) >= 0 summing to 1, the most that each class may receive.
        mass: share of all samples to move, in (0, 1].
        epsilon: smoothing of the plan, in units of the largest cost.

    Returns:
        The targets, detached, in the type of the probabilities. The target of a sample without moved mass is
        softmax(-C / epsilon).

    Raises:
        ValueError: shapes or numbers do not fit.
        InfeasibleTransportError: the prior holds less than the mass.

    Example:
        >>> import torch
        >>> p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
        >>> found = label_targets(p, torch.tensor([0.5, 0.5]), mass=0.6, epsilon=0.05)
        >>> found.targets.argmax(1).tolist(), [round(x, 1) for x in found.weights.tolist()]
        ([0, 0, 1], [1.0, 0.1, 0.7])
    """
    p = probabilities.detach().double()
    if not bool(((p >= 0) & (p <= 1 + _ROUNDED)).all()):
        raise ValueError(
            "class probabilities must lie in 0..1, got others or NaN; divide each row by its sum"
        )
    cost = -p.clamp(min=_LEAST).log()
    cost = cost / cost.max().clamp(min=_LEAST)
    rows = torch.full((len(p),), 1 / len(p), dtype=p.dtype, device=p.device)
    moved = partial_plan(
        cost, rows, prior.to(p), mass, epsilon=epsilon, tolerance=_TOLERANCE, max_iterations=2000
    )
    sent = moved.plan.sum(1)  # (N,)
    kept = torch.softmax(-cost / epsilon, dim=1)
    spread = moved.plan / sent[:, None].clamp(min=torch.finfo(p.dtype).tiny)
    targets = torch.where(sent[:, None] > _LEAST / len(p), spread, kept)
    return LabelTargets(targets.to(probabilities), (sent * len(p)).clamp(max=1.0).to(probabilities))


@takes_arrays()
def relation_plan(classes: Tensor, epsilon: float = 0.1, cosines: Tensor | None = None) -> Tensor:
    """Return a balanced plan between the images and texts of a batch by the agreement of their classes.

    Args:
        classes: (B, K), rows summing to 1, class distribution of each pair.
        epsilon: smoothing, in units of the agreement, the probability in 0..1 that two classes are equal.
        cosines: (B, B) of images (rows) with texts, averaged with the agreement; None for classes alone.

    Returns:
        (B, B) >= 0, detached, rows and columns summing to 1 each.

    Example:
        >>> import torch
        >>> relation_plan(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), epsilon=0.1).round(decimals=3)
        tensor([[0.5000, 0.5000, 0.0000],
                [0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """
    if classes.ndim != 2:
        raise ValueError(f"class distributions must be (B, K), got {tuple(classes.shape)}")
    posterior = classes.detach().float()
    agreement = posterior @ posterior.T  # (B, B)
    if cosines is not None:
        agreement = (agreement + cosines.detach().float()) / 2
    even = torch.full((len(posterior),), 1 / len(posterior), device=posterior.device)
    moved = balanced_plan(-agreement, even, even, epsilon=epsilon, tolerance=1e-3, max_iterations=200)
    return moved.plan * len(posterior)
