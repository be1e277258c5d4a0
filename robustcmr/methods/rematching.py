"""What the rematching methods ``l2rm`` and ``robust`` share: options, the cost network, results of a step."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from robustcmr.methods.base import Method
from robustcmr.options import Options
from robustcmr.types import Division, PairBatch, Rematch, StepResult, TransportPlan

NOTHING: Mapping[str, Tensor | float] = MappingProxyType({})


class RematchingOptions(Options):
    """Options of both methods; epochs count from 0, temperatures and costs are in units of the score."""

    warmup_epochs: int = Field(5, ge=0, description="epochs on all given pairs before the first division")
    temperature: float = Field(0.05, gt=0.0, description="tau of every softmax")
    floor: float = Field(1e-7, gt=0.0, lt=1.0, description="replaces 0 inside a logarithm")
    threshold: float = Field(
        0.5, gt=0.0, lt=1.0, description="a pair is clean if its probability exceeds this"
    )
    rematch_weight: float = Field(1.0, ge=0.0, description="weight of the rematched targets; 0 turns it off")
    mass: float = Field(0.1, gt=0.0, le=1.0, description="rho, share of the suspected captions' mass to move")
    solver: Literal["entropic", "exact"] = Field(
        "entropic", description="partial transport with entropy, or exact on the CPU"
    )
    epsilon: float = Field(0.01, gt=0.0, description="smoothing of the plan (entropic)")
    cost_lr: float = Field(1e-3, gt=0.0, description="learning rate of the cost network")
    synthetic_least: float = Field(0.01, gt=0.0, le=1.0, description="least share of synthetic matches")
    synthetic_most: float = Field(0.10, gt=0.0, le=1.0, description="largest share of synthetic matches")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.synthetic_least > self.synthetic_most:
            raise ValueError(
                f"synthetic_least is {self.synthetic_least} but synthetic_most is {self.synthetic_most}; "
                "expected synthetic_least to be no larger"
            )
        return self


class RematchingMethod(Method):
    """One matcher, and a network that learns the cost of rematching; None where there is none."""

    config: RematchingOptions
    cost: nn.Module | None

    @property
    def auxiliary(self) -> Mapping[str, nn.Module]:
        """The cost network."""
        return {} if self.cost is None else {"cost": self.cost}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The matcher's own, and the cost network at its own rate without decay."""
        groups = self.matcher.parameter_groups()
        if self.cost is not None:
            own = {"lr": self.config.cost_lr, "weight_decay": 0.0}
            groups.append({"params": list(self.cost.parameters()), **own})
        return groups

    def synthetic_share(self) -> float:
        """Draw the share of synthetic matches of a step."""
        least, most = self.config.synthetic_least, self.config.synthetic_most
        return least + (most - least) * float(torch.rand(()))


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


def solved(
    plan: TransportPlan, batch: PairBatch, columns: Tensor, scores: Tensor, allowed: Tensor
) -> tuple[Rematch, dict[str, Tensor | float]]:
    """Return the record of a rematching, and how well it was solved.

    The plan, detached scores and allowed cells are (B, k), from the images of the batch to the suspected
    captions, which have the places ``columns`` (k,) in it.
    """
    pair_ids = batch.pair_ids.to(scores.device)
    return Rematch(pair_ids, pair_ids[columns], plan.plan, scores, allowed), {
        "solver_failed": 1.0 - plan.converged.float(),
        "solver_iterations": float(plan.iterations),
        "solver_error": plan.marginal_error,
    }
