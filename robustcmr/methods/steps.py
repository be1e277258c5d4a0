"""Parts that rematching methods share: losses added up, and what a solved plan reports."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from robustcmr.types import PairBatch, Rematch, StepResult, TransportPlan

NOTHING: Mapping[str, Tensor | float] = MappingProxyType({})


def added(
    losses: Mapping[str, Tensor],
    rematch: Rematch | None = None,
    more: Mapping[str, Tensor | float] = NOTHING,
) -> StepResult:
    """Return the sum of scalar losses, each reported under its name, with further metrics."""
    total = torch.stack(list(losses.values())).sum()
    return StepResult(total, {name: value.detach() for name, value in losses.items()} | dict(more), rematch)


def joined(parts: list[StepResult]) -> StepResult:
    """Return the sum of the results of a step's batches; at most one of them was rematched."""
    metrics: dict[str, Tensor | float] = {}
    for part in parts:
        for name, value in part.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + value
    rematches = [part.rematch for part in parts if part.rematch is not None]
    return StepResult(torch.stack([part.loss for part in parts]).sum(), metrics, next(iter(rematches), None))


def solved(
    plan: TransportPlan, batch: PairBatch, columns: Tensor, scores: Tensor, allowed: Tensor
) -> tuple[Rematch, dict[str, Tensor | float]]:
    """Return the record of a rematching, and how well it was solved.

    Args:
        plan: (B, k) from the images of the batch to the suspected captions.
        batch: of B pairs.
        columns: (k,) int64, places of the suspected captions in the batch.
        scores: (B, k) detached scores that the cost was made from.
        allowed: (B, k) bool.
    """
    pair_ids = batch.pair_ids.to(scores.device)
    return Rematch(pair_ids, pair_ids[columns], plan.plan, scores, allowed), {
        "solver_failed": 1.0 - plan.converged.float(),
        "solver_iterations": float(plan.iterations),
        "solver_error": plan.marginal_error,
    }
