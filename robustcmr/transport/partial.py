"""Partial entropic transport: a fixed mass moves, at most its weight from each row and to each column.

With K = exp(-cost / epsilon) the plan is P = t diag(a) K diag(b), a <= 1, b <= 1, and one factor t of all
cells such that sum(P) is the mass. A row with a_i < 1 is full: its sum is its weight. The same for columns.
"""

from __future__ import annotations

from torch import Tensor

from robustcmr.transport.dense import Settings, solve
from robustcmr.transport.problems import prepare
from robustcmr.transport.rules import LARGEST, SMALLEST, Array, Side, greater, lesser
from robustcmr.transport.triton_partial import sweeper
from robustcmr.types import TransportPlan

_FLAT = 1e-6  # share of the mass added to the slope of a Newton step on t, which vanishes if all is full


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
    """Find plans P >= 0 of least <cost, P> + epsilon * sum P (log P - 1) that move a fixed mass.

    Sums of rows and columns are at most their weights, and cells that are not allowed carry exactly 0. The
    entropy covers the transported mass alone. Departure: no dummy row and column take the rest of the mass,
    as in the exact problem; with entropy they would blur the plan by how the rest is spread.

    Args:
        cost: (..., n, m) any real numbers; float32, float64 or narrower, which is widened to float32.
        row_weights: (..., n) >= 0, most mass a row may send; 0 for padding.
        column_weights: (..., m) >= 0, most mass a column may receive; 0 for padding.
        mass: mass to move, > 0; a number, or (...) one for each problem. An excess over the sum of a side is
            cut off if rounding explains it.
        epsilon: smoothing > 0, in units of cost.
        allowed: (..., n, m) bool, True where a cell may carry mass; None for everywhere.
        tolerance: stop when this share of the mass is out of place, in all: sums above their weights, sums
            below the weights of rows with a < 1 and columns with b < 1, and the error of the mass. float32
            may not reach less than 1e-6.
        max_iterations: most scalings of rows and columns; a warning is logged if they do not suffice.
        differentiable: let gradients flow through the plan, to costs, weights and mass.

    Returns:
        The plan.

    Raises:
        ValueError: shapes or numbers do not fit.
        InfeasibleTransportError: a side is empty, or weights and mask cannot carry the mass. The mask is
            tested only if the iteration does not end soon.

    References:
        Benamou, Carlier, Cuturi, Nenna and Peyre, "Iterative Bregman Projections for Regularized
        Transportation Problems", 2015, section 5. Departure: their three projections are two here, as each
        side is scaled together with the mass.

    Example:
        >>> import torch
        >>> from robustcmr.transport import partial_plan
        >>> half = torch.tensor([0.5, 0.5])
        >>> partial_plan(1 - torch.eye(2), half, half, 0.4, epsilon=0.2).plan
        tensor([[0.1987, 0.0013],
                [0.0013, 0.1987]])
    """
    problem = prepare(cost, row_weights, column_weights, allowed, mass)
    settings = Settings(epsilon, tolerance, max_iterations, differentiable)
    return solve(Partial(), problem, settings, sweeper(problem))


class Partial:
    """The rule of partial problems. Factors are at most the anchor, 1 over the scaling that the kernel holds.

    Args:
        level_steps: Newton steps on t for each scaling of a side.
    """

    keeps_mass = True
    slack = 0.0

    def __init__(self, level_steps: int = 2) -> None:
        self.level_steps = level_steps

    def start(self, Z: Tensor) -> None:
        """Return None: nothing is known yet."""
        return

    def anchor(self, logs: Tensor) -> Tensor:
        """Return the largest factor that keeps the whole scaling at most 1."""
        return logs.neg().exp().clamp(max=LARGEST)

    def first_level(self, rows: Side, sums: Array) -> Array:
        """Return the factor that gives the kernel the mass."""
        return rows.mass / sums.sum(-1, keepdims=True)

    def most(self, side: Side) -> Array:
        """Return the anchor."""
        return side.anchor

    def step(self, side: Side, sums: Array, level: Array) -> tuple[Array, Array]:
        """Return the scaling, and t nearer to the solution of sum over i of min(weight_i, t sum_i) = mass.

        That sum is concave in t, so Newton steps approach from below; more of them follow in later calls.
        """
        at_most, floor = sums * side.anchor, _FLAT * side.mass
        for _ in range(self.level_steps):
            sent = level * at_most
            short = side.mass - lesser(sent, side.weights).sum(-1, keepdims=True)
            slope = (sent * (sent < side.weights)).sum(-1, keepdims=True) + floor
            level = level * greater(short / slope + 1.0, 0.1)
        level = lesser(level, LARGEST)
        return lesser(side.weights / (level * sums + SMALLEST), side.anchor), level

    def goal(self, side: Side, sums: Array, scaling: Array) -> tuple[Array, Array]:
        """Return that rows and columns that are scaled down, or too large, are to meet their weights."""
        return (scaling < side.anchor) | (sums > side.weights), side.weights
