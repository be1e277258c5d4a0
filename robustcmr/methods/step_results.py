"""Results of a step: losses added up under their names, batches joined, and the metrics of a division."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from robustcmr.types import Division, Rematch, StepResult

NOTHING: Mapping[str, Tensor | float] = MappingProxyType({})


def division_metrics(division: Division) -> dict[str, float]:
    """Return the share of suspected pairs and, where it is known, the estimated noise rate."""
    metrics = {"suspected": float((~division.is_clean).mean())}
    if division.noise_rate is not None:
        metrics["noise_rate"] = division.noise_rate
    return metrics


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
