"""Balanced entropic transport: all of the rows' mass moves to the columns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.transport.problems import balance, prepare, refuse_infeasible, require_mass
from robustcmr.transport.scaling import Side, solve
from robustcmr.types import TransportPlan


def balanced_plan(
    cost: Tensor,
    row_weights: Tensor,
    column_weights: Tensor,
    *,
    epsilon: float,
    mask: Tensor | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 10_000,
    differentiable: bool = False,
) -> TransportPlan:
    """Plans P >= 0 of least <cost, P> + epsilon * sum P (log P - 1) with the given sums of rows and columns.

    Args:
        cost: (..., n, m) any real numbers; float32, float64 or narrower, which is widened to float32.
        row_weights: (..., n) >= 0, mass of each row; 0 for padding.
        column_weights: (..., m) >= 0, of the same sum; a difference that rounding explains is scaled away.
        epsilon: smoothing > 0, in units of cost.
        mask: (..., n, m) bool, True where a cell may carry mass; None for everywhere.
        tolerance: stop when the sums miss the weights by this share of the mass, in all; looked at every ten
            iterations. Below 1e-6 float32 may not get there.
        max_iterations: most scalings of rows and columns; a warning is logged when they did not suffice.
        differentiable: let gradients flow through the plan, to costs and weights. The iterations at epsilon
            are then repeated with their graph, which takes n + m numbers an iteration.

    Returns:
        The plan.

    Raises:
        ValueError: if shapes or numbers do not fit.
        InfeasibleTransportError: if a side is empty, the two masses differ, or the mask lets less mass pass.

    References:
        Cuturi, "Sinkhorn Distances", 2013; Schmitzer, "Stabilized Sparse Scaling Algorithms", 2019.
    """
    problem = balance(prepare(cost, row_weights, column_weights, mask))
    mass = require_mass(problem, problem.rows.weights.sum(-1))
    result = solve(
        _Balanced(),
        problem.levelled_cost,
        problem.rows,
        problem.columns,
        problem.allowed,
        epsilon=epsilon,
        tolerance=tolerance,
        max_iterations=max_iterations,
        differentiable=differentiable,
    )
    if not bool(result.converged.all()):
        refuse_infeasible(problem, mass, ~result.converged)
    return result


@dataclass(frozen=True)
class _Balanced:
    """Scale every row and column to its weight."""

    def step(self, side: Side, log_sums: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        scaling = torch.where(side.present, side.log_weights - log_sums, 0.0)
        return scaling, torch.zeros_like(scaling[..., :1])

    def miss(self, side: Side, sums: Tensor, scaling: Tensor, epsilon: float) -> Tensor:
        return (sums - side.weights.detach()).abs()
