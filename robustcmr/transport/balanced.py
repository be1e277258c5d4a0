"""Balanced entropic transport: all mass of the rows moves to the columns."""

from __future__ import annotations

from torch import Tensor

from robustcmr.transport.dense import Settings, solve
from robustcmr.transport.problems import balance, prepare
from robustcmr.transport.rules import Array, Side, SideBySide, quotient
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
    """Find plans P >= 0 of least <cost, P> + epsilon * sum P (log P - 1) with given sums of rows and columns.

    Args:
        cost: (..., n, m) any real numbers; float32, float64 or narrower, which is widened to float32.
        row_weights: (..., n) >= 0, mass of each row; 0 for padding.
        column_weights: (..., m) >= 0, of the same sum; a difference that rounding explains is scaled away.
        epsilon: smoothing > 0, in units of cost.
        mask: (..., n, m) bool, True where a cell may carry mass; None for everywhere.
        tolerance: stop when the sums miss the weights by this share of the mass, in all. float32 may not
            reach less than 1e-6.
        max_iterations: most scalings of rows and columns; a warning is logged if they do not suffice.
        differentiable: let gradients flow through the plan, to costs and weights.

    Returns:
        The plan.

    Raises:
        ValueError: shapes or numbers do not fit.
        InfeasibleTransportError: a side is empty, the two masses differ, or the mask lets less mass pass.

    References:
        Cuturi, "Sinkhorn Distances", 2013; Schmitzer, "Stabilized Sparse Scaling Algorithms", 2019.

    Example:
        >>> import torch
        >>> from robustcmr.transport import balanced_plan
        >>> half = torch.tensor([0.5, 0.5])
        >>> balanced_plan(1 - torch.eye(2), half, half, epsilon=0.2).plan
        tensor([[0.4967, 0.0033],
                [0.0033, 0.4967]])
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
