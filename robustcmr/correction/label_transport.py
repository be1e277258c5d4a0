"""Correcting class labels by transport: samples move to classes, the sure ones first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.transport import balanced_plan, partial_plan

_LEAST = 1e-6
"""What stands in for a probability of 0 in a cost."""
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class LabelTargets:
    """Where samples were moved to.

    Attributes:
        targets: (N, K), rows summing to 1: how a sample's mass spreads over the classes.
        weights: (N,) in 0..1, the share of its mass that was moved at all.
    """

    targets: Tensor
    weights: Tensor


def label_targets(probabilities: Tensor, prior: Tensor, mass: float, epsilon: float) -> LabelTargets:
    """Move a part of the samples to classes at the least cost, no class receiving more than its share.

    The cost of a class is minus the logarithm of its probability, divided by the largest. With little mass
    only samples whose class is sure are moved.

    Args:
        probabilities: (N, K) >= 0 of each sample's class.
        prior: (K,) >= 0 summing to 1, the most that each class may receive.
        mass: share of all samples to move, in (0, 1].
        epsilon: smoothing of the plan, in units of the largest cost.

    Returns:
        The targets, detached, in the type of the probabilities; a sample of which nothing was moved has its
        probabilities, sharpened as the plan would, as targets.
    """
    p = probabilities.detach().double()
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


def relation_plan(classes: Tensor, epsilon: float, cosines: Tensor | None = None) -> Tensor:
    """Which texts of a batch each image goes with, as far as their classes say: a balanced plan.

    Args:
        classes: (B, K), rows summing to 1, class distribution of each pair.
        epsilon: smoothing, in units of the agreement of two classes, which lies in 0..1.
        cosines: (B, B) of images (rows) with texts, averaged with the agreement; None for classes alone.

    Returns:
        (B, B) >= 0, detached, rows and columns summing to 1 each.
    """
    belief = classes.detach().float()
    agreement = belief @ belief.T  # (B, B) probability that two pairs are of one class
    if cosines is not None:
        agreement = (agreement + cosines.detach().float()) / 2
    even = torch.full((len(belief),), 1 / len(belief), device=belief.device)
    moved = balanced_plan(-agreement, even, even, epsilon=epsilon, tolerance=1e-3, max_iterations=200)
    return moved.plan * len(belief)
