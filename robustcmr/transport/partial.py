"""Partial entropic transport: a fixed mass moves, within what each row and column has to give."""

from __future__ import annotations

from torch import Tensor

from robustcmr.transport.problems import prepare
from robustcmr.transport.rules import LARGEST, SMALLEST, Array, Side, greater, lesser
from robustcmr.transport.scaling import Settings, solve
from robustcmr.transport.triton_partial import sweeper
from robustcmr.types import TransportPlan

_STEPS = 2  # Newton steps on the common factor for each scaling of a side
_FLAT = 1e-6  # share of the mass added to their slope: it vanishes where all is full


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
        tolerance: stop when this share of the mass is out of place, in all: sums above their weights, sums
            below the weight of rows and columns that the scaling holds back, and what the mass is off by.
            Below 1e-6 float32 may not get there.
        max_iterations: most scalings of rows and columns; a warning is logged when they did not suffice.
        differentiable: let gradients flow through the plan, to costs, weights and mass.

    Returns:
        The plan.

    Raises:
        ValueError: if shapes or numbers do not fit.
        InfeasibleTransportError: if a side is empty, or weights and mask cannot carry the mass. What a mask
            lets pass is looked into where the iteration does not end at once.

    References:
        Benamou, Carlier, Cuturi, Nenna and Peyre, "Iterative Bregman Projections for Regularized
        Transportation Problems", 2015, section 5. Their three projections are done here as two: each side is
        scaled together with the total mass.
    """
    problem = prepare(cost, row_weights, column_weights, allowed, mass)
    settings = Settings(epsilon, tolerance, max_iterations, differentiable)
    return solve(_Partial(), problem, settings, sweeper(problem))


class _Partial:
    """Raise all cells by one factor until the mass is met, holding each row or column to its weight.

    Scalings are at most 1: the anchor is 1 over the scaling that the kernel holds, and the most that is left.
    """

    keeps_mass = True
    slack = 0.0

    def start(self, Z: Tensor) -> None:
        return None

    def anchor(self, logs: Tensor) -> Tensor:
        return logs.neg().exp().clamp(max=LARGEST)

    def first_level(self, rows: Side, sums: Array) -> Array:
        return rows.mass / sums.sum(-1, keepdims=True)

    def most(self, side: Side) -> Array:
        return side.anchor

    def step(self, side: Side, sums: Array, level: Array) -> tuple[Array, Array]:
        level = _level(side, sums * side.anchor, level)
        return lesser(side.weights / (level * sums + SMALLEST), side.anchor), level

    def goal(self, side: Side, sums: Array, scaling: Array) -> tuple[Array, Array]:
        return (scaling < side.anchor) | (sums > side.weights), side.weights


def _level(side: Side, sums: Array, level: Array) -> Array:
    """Factor t, (B, 1, 1), such that the sum over i of min(weight_i, t sum_i) is the mass.

    That sum is concave in t, so Newton steps never go above the t looked for, and reach it after as many as
    there are rows or columns to be filled on the way, mostly few; more come in the next iterations.
    """
    floor = _FLAT * side.mass
    for _ in range(_STEPS):
        sent = level * sums
        short = side.mass - lesser(sent, side.weights).sum(-1, keepdims=True)
        slope = (sent * (sent < side.weights)).sum(-1, keepdims=True) + floor
        level = level * greater(short / slope + 1.0, 0.1)
    return lesser(level, LARGEST)
