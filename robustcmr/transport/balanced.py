"""Balanced entropic transport: all of the rows' mass moves to the columns."""

from __future__ import annotations

from torch import Tensor

from robustcmr.transport.problems import balance, prepare
from robustcmr.transport.rules import Array, Side, SideBySide, quotient
from robustcmr.transport.scaling import Settings, solve
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
        tolerance: stop when the sums miss the weights by this share of the mass, in all. Below 1e-6 float32
            may not get there.
        max_iterations: most scalings of rows and columns; a warning is logged when they did not suffice.
        differentiable: let gradients flow through the plan, to costs and weights.

    Returns:
        The plan.

    Raises:
        ValueError: if shapes or numbers do not fit.
        InfeasibleTransportError: if a side is empty, the two masses differ, or the mask lets less mass pass.

    References:
        Cuturi, "Sinkhorn Distances", 2013; Schmitzer, "Stabilized Sparse Scaling Algorithms", 2019.
    """
    problem = balance(prepare(cost, row_weights, column_weights, mask))
    return solve(_Balanced(), problem, Settings(epsilon, tolerance, max_iterations, differentiable))


class _Balanced(SideBySide):
    """Scale every row and column to its weight."""

    slack = 0.0

    def anchor(self, logs: Tensor) -> Tensor:
        return logs

    def step(self, side: Side, sums: Array, level: Array) -> tuple[Array, Array]:
        return quotient(side.weights, sums), level

    def goal(self, side: Side, sums: Array, scaling: Array) -> tuple[Array, Array]:
        return sums >= 0, side.weights
