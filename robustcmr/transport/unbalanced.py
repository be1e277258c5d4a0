"""Unbalanced entropic transport: sums of rows and columns may miss their weights at a price."""

from __future__ import annotations

import math

from torch import Tensor

from robustcmr.transport.problems import prepare
from robustcmr.transport.rules import LARGEST, SMALLEST, Array, Side, SideBySide, quotient
from robustcmr.transport.scaling import Settings, solve
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
            potential and likewise for columns, by this share of the mass, in all. Below 1e-6 float32 may not
            get there.
        max_iterations: most scalings of rows and columns; a warning is logged when they did not suffice.
        differentiable: let gradients flow through the plan, to costs and weights.

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
    settings = Settings(epsilon, tolerance, max_iterations, differentiable)
    problem = prepare(cost, row_weights, column_weights, mask)
    return solve(_Unbalanced(penalty / (penalty + epsilon)), problem, settings)


class _Unbalanced(SideBySide):
    """Scale every row and column part of the way to its weight.

    The measures r and c in the entropy are part of the scalings here, not of the kernel.

    Args:
        share: rho / (rho + epsilon), how far.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.slack = 1 / share - 1  # epsilon / rho

    def anchor(self, logs: Tensor) -> Tensor:
        return (logs * (self.share - 1)).exp().clamp(1 / LARGEST, LARGEST)

    def step(self, side: Side, sums: Array, level: Array) -> tuple[Array, Array]:
        return quotient(side.weights * side.anchor, sums**self.share), level

    def goal(self, side: Side, sums: Array, scaling: Array) -> tuple[Array, Array]:
        # With r exp(f / epsilon) for the whole scaling, r exp(-f / rho) is this.
        pull = side.anchor * (scaling + SMALLEST) ** (self.share - 1)
        return sums > 0, (side.weights * pull) ** (1 / self.share)
