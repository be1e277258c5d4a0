"""Partial entropic transport: a fixed mass moves, within what each row and column has to give."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustcmr.transport.problems import prepare, refuse_infeasible, require_mass
from robustcmr.transport.scaling import ABSENT, Side, solve
from robustcmr.types import TransportPlan


def partial_plan(
    cost: Tensor,
    row_weights: Tensor,
    column_weights: Tensor,
    mass: float | Tensor,
    *,
    epsilon: float,
    allowed: Tensor | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 10_000,
    differentiable: bool = False,
) -> TransportPlan:
    """Plans P >= 0 of least <cost, P> + epsilon * sum P (log P - 1) that move a fixed mass.

    Sums of rows and columns are at most their weights, and cells that are not allowed carry exactly nothing.
    The entropy is that of the transported block alone. A dummy row and column that take the rest of the mass
    pose the same problem without entropy; with it they would blur the plan by how the rest is spread, so none
    are used here.

    Args:
        cost: (..., n, m) any real numbers; float32, float64 or narrower, which is widened to float32.
        row_weights: (..., n) >= 0, most mass a row may send; 0 for padding.
        column_weights: (..., m) >= 0, most mass a column may receive; 0 for padding.
        mass: mass to move, > 0; a number, or (...) one for each problem. What rounding puts above the
            sum of a side is cut off.
        epsilon: smoothing > 0, in units of cost.
        allowed: (..., n, m) bool, True where a cell may carry mass; None for everywhere.
        tolerance: stop when this share of the mass is out of place, in all: sums above their weights, and
            sums below the weight of rows and columns that the scaling holds back. Looked at every ten
            iterations; below 1e-6 float32 may not get there.
        max_iterations: most scalings of rows and columns; a warning is logged when they did not suffice.
        differentiable: let gradients flow through the plan, to costs, weights and mass. The iterations at
            epsilon are then repeated with their graph, so memory grows with their number times n m.

    Returns:
        The plan.

    Raises:
        ValueError: if shapes or numbers do not fit.
        InfeasibleTransportError: if a side is empty, or weights and mask cannot carry the mass. A cheap test
            runs first; the exact bound is worked out where that fails or the iteration does not converge.

    References:
        Benamou, Carlier, Cuturi, Nenna and Peyre, "Iterative Bregman Projections for Regularized
        Transportation Problems", 2015, section 5. Their three projections are done here as two: each side is
        scaled together with the total mass, which is found exactly by sorting.
    """
    problem = prepare(cost, row_weights, column_weights, allowed)
    wanted = torch.as_tensor(mass, dtype=problem.cost.dtype, device=problem.cost.device)
    wanted = require_mass(problem, wanted.expand(problem.rows.weights.shape[:-1]))
    result = solve(
        _Partial(wanted.unsqueeze(-1)),
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
        refuse_infeasible(problem, wanted, ~result.converged)
    return result


@dataclass(frozen=True)
class _Partial:
    """Raise all cells by one factor until the mass is met, holding each row or column to its weight.

    Attributes:
        mass: (..., 1) mass to move.
    """

    mass: Tensor

    def step(self, side: Side, log_sums: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        sums = torch.where(side.present, log_sums, ABSENT)
        limit = torch.where(side.present, side.log_weights - log_sums, 0.0)  # factor at which it is full
        common = _fill(side, sums, limit, self.mass.to(sums))
        held = torch.where(side.present, (limit - common).clamp(max=0.0), 0.0)
        return held, common

    def miss(self, side: Side, sums: Tensor, scaling: Tensor, epsilon: float) -> Tensor:
        excess = sums - side.weights.detach()
        full = side.present & (scaling < 0)
        return torch.where(full, excess.abs(), excess.clamp(min=0.0))


def _fill(side: Side, sums: Tensor, limit: Tensor, mass: Tensor) -> Tensor:
    """Logarithm t, (..., 1), such that the sum over i of min(weight_i, exp(t + sums_i)) is the mass."""
    with torch.no_grad():
        top = torch.where(side.present, limit, ABSENT).amax(-1, keepdim=True)
        order = torch.where(side.present, limit, top).sort(-1)
        sorted_sums = sums.gather(-1, order.indices)
        weights = torch.where(side.present, side.weights, 0.0).gather(-1, order.indices)
        rest = sorted_sums.flip(-1).logcumsumexp(-1).flip(-1)  # log of what item k and all later ones sum to
        rest = torch.cat([rest[..., 1:], torch.full_like(rest[..., :1], ABSENT)], -1)
        filled = weights.cumsum(-1) + (order.values + rest).exp()  # mass when t reaches the limit of item k
        n_full = (filled <= mass).sum(-1, keepdim=True)
        n = limit.shape[-1]
        low = torch.where(n_full > 0, order.values.gather(-1, (n_full - 1).clamp(min=0)), ABSENT)
        high = order.values.gather(-1, n_full.clamp(max=n - 1))
        full = side.present & (limit <= low)
    left = mass - torch.where(full, side.weights, 0.0).sum(-1, keepdim=True)
    left = left.clamp(min=torch.finfo(left.dtype).tiny)
    free = torch.where(full, ABSENT, sums).logsumexp(-1, keepdim=True)
    some_free = (side.present & ~full).any(-1, keepdim=True)
    level = torch.where(some_free, left.log() - torch.where(some_free, free, 0.0), top)
    return torch.minimum(torch.maximum(level, low), high)
