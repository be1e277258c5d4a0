"""Unbalanced entropic transport: sums of rows and columns may miss their weights at a price."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.transport.problems import prepare
from robustcmr.transport.scaling import Side, solve
from robustcmr.types import TransportPlan


def unbalanced_plan(
    cost: Tensor,
    row_weights: Tensor,
    column_weights: Tensor,
    *,
    epsilon: float,
    penalty: float,
    mask: Tensor | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 10_000,
    differentiable: bool = False,
) -> TransportPlan:
    """Plans of least <cost, P> + epsilon KL(P | r c') + penalty (KL(P 1 | r) + KL(P' 1 | c)), KL with masses.

    KL(x | y) is the sum of x log(x / y) - x + y. Cells far above the penalty carry next to nothing.

    Args:
        cost: (..., n, m) any real numbers; float32, float64 or narrower, which is widened to float32.
        row_weights: (..., n) >= 0; 0 for padding.
        column_weights: (..., m) >= 0, of any sum; 0 for padding.
        epsilon: smoothing > 0, in units of cost.
        penalty: rho > 0, in units of cost, finite.
        mask: (..., n, m) bool, True where a cell may carry mass; None for everywhere.
        tolerance: stop when the sums miss those that the scaling calls for, r exp(-f / rho) with f the row
            potential and likewise for columns, by this share of the mass, in all. Looked at every ten
            iterations; below 1e-6 float32 may not get there.
        max_iterations: most scalings of rows and columns; a warning is logged when they did not suffice.
        differentiable: let gradients flow through the plan, to costs and weights. The iterations at epsilon
            are then repeated with their graph, which takes n + m numbers an iteration.

    Returns:
        The plan.

    Raises:
        ValueError: if shapes or numbers do not fit.
        InfeasibleTransportError: if a side is empty.

    References:
        Chizat, Peyre, Schmitzer and Vialard, "Scaling Algorithms for Unbalanced Transport Problems", 2016.
    """
    if not (penalty > 0 and math.isfinite(penalty)):
        raise ValueError(f"the penalty of an unbalanced plan must be positive and finite, got {penalty}")
    problem = prepare(cost, row_weights, column_weights, mask)
    rows, columns = problem.rows, problem.columns
    return solve(
        _Unbalanced(penalty),
        problem.cost,
        rows,
        columns,
        problem.allowed,
        epsilon=epsilon,
        log_reference=rows.log_weights.unsqueeze(-1) + columns.log_weights.unsqueeze(-2),
        tolerance=tolerance,
        max_iterations=max_iterations,
        differentiable=differentiable,
    )


@dataclass(frozen=True)
class _Unbalanced:
    """Scale every row and column part of the way to its weight.

    Attributes:
        penalty: rho, in units of cost.
    """

    penalty: float

    def step(self, side: Side, log_sums: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        share = self.penalty / (self.penalty + epsilon)
        scaling = torch.where(side.present, share * (side.log_weights - log_sums), 0.0)
        return scaling, torch.zeros_like(scaling[..., :1])

    def miss(self, side: Side, sums: Tensor, scaling: Tensor, epsilon: float) -> Tensor:
        called_for = side.weights.detach() * (scaling * (-epsilon / self.penalty)).exp()
        return torch.where(side.present, (sums - called_for).abs(), 0.0)
