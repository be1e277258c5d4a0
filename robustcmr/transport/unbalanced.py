"""Unbalanced entropic transport: sums of rows and columns may miss their weights at a price."""

from __future__ import annotations

import math

from torch import Tensor

from robustcmr.transport.dense import Settings, solve
from robustcmr.transport.problems import prepare
from robustcmr.transport.rules import LARGEST, SMALLEST, Array, Side, SideBySide, quotient
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
    """Find plans of least <cost, P> + epsilon KL(P | r c') + rho (KL(P 1 | r) + KL(P' 1 | c)).

    KL(x | y) is the sum of x log(x / y) - x + y. Cells that cost far more than rho carry next to nothing.

    Args:
        cost: (..., n, m) any real numbers; float32, float64 or narrower, which is widened to float32.
        row_weights: (..., n) >= 0; 0 for padding.
        column_weights: (..., m) >= 0, of any sum; 0 for padding.
        epsilon: smoothing > 0, in units of cost.
        penalty: rho > 0, in units of cost, finite.
        mask: (..., n, m) bool, True where a cell may carry mass; None for everywhere.
        tolerance: stop when the sums of rows miss r exp(-f / rho), with f the row potential, and those of
            columns likewise, by this share of the mass, in all. float32 may not reach less than 1e-6.
        max_iterations: most scalings of rows and columns; a warning is logged if they do not suffice.
        differentiable: let gradients flow through the plan, to costs and weights.

    Returns:
        The plan.

    Raises:
        ValueError: shapes or numbers do not fit.
        InfeasibleTransportError: a side is empty.

    References:
        Chizat, Peyre, Schmitzer and Vialard, "Scaling Algorithms for Unbalanced Transport Problems", 2016.

    Example:
        >>> import torch
        >>> from robustcmr.transport import unbalanced_plan
        >>> half = torch.tensor([0.5, 0.5])
        >>> unbalanced_plan(3 - 3 * torch.eye(2), half, half, epsilon=0.2, penalty=1.0).plan
        tensor([[4.6947e-01, 1.4361e-07],
                [1.4361e-07, 4.6947e-01]])
    """
    if not (penalty > 0 and math.isfinite(penalty)):
        raise ValueError(f"penalty is {penalty}; expected a positive finite number, such as penalty=1.0")
    settings = Settings(epsilon, tolerance, max_iterations, differentiable)
    problem = prepare(cost, row_weights, column_weights, mask)
    return solve(_Unbalanced(penalty / (penalty + epsilon)), problem, settings)


class _Unbalanced(SideBySide):
    """Scale each row and column to (weight / sum) ** share, share = rho / (rho + epsilon).

    The measures r and c of the entropy are part of the scalings, not of the kernel.
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
