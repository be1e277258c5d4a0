"""The kinds of entropic problems: how each scales a side, and the targets of its sums.

Shapes: B problems, sides of n rows or m columns. Vectors are (B, 1, n) or (B, 1, m), one number a problem is
(B, 1, 1). They are NumPy arrays on the CPU, where NumPy handles a short vector in a third of the time that
torch takes, and tensors elsewhere and where gradients are needed. Rules use what both have in common.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = Any
# Logarithms of the scalings of rows, of columns, and of all cells together.
Logs: TypeAlias = tuple[Tensor, Tensor, Tensor]

SMALLEST = 1e-38  # added to divisors, so that 0 / 0 is 0
LARGEST = 2e17  # exp(40); a kernel entry times two such factors is in the range of float32
_NEVER = 1e20  # logarithms above this belong to sides that are forbidden as a whole
_ONE_SIDED = 20.0  # most that the first scaling of one side alone may add to all logarithms
_FLAT = 1e-6  # share of the mass added to the slope of a Newton step on t, which vanishes if all is full


class Side(NamedTuple):
    """The rows, or the columns, of a problem."""

    weights: Array  # (B, 1, n) >= 0
    anchor: Array  # (B, 1, n) what the rule needs of the scaling that the kernel holds already; 1.0 if none
    mass: Array  # (B, 1, 1) mass to move; None if not given


class Rule:
    """How one kind of problem scales a side; by itself that of balanced problems: each sum is its weight.

    Attributes:
        keeps_mass: whether a factor t of all cells gives the plan the required mass; else t is 1.
        slack: relative decrease of a target as the logarithm of the scaling rises by 1.
    """

    keeps_mass = False
    slack = 0.0

    def start(self, Z: Tensor) -> Logs | None:
        """Return scalings for the first kernel exp(Z), (B, n, m), that bring its largest entries to 1."""
        return *largest_to_one(Z), Z.new_zeros(1, 1, 1)

    def anchor(self, logs: Tensor) -> Tensor:
        """Return ``Side.anchor`` for a kernel that holds a scaling with these logarithms."""
        return logs

    def in_range(self, logs: Tensor) -> Tensor:
        """Return (B,) whether the anchor of a scaling with logarithms (B, 1, n) is what it should be."""
        return torch.ones(len(logs), dtype=torch.bool, device=logs.device)

    def first_level(self, rows: Side, sums: Array) -> Array:
        """Return the first t, given the row sums of the kernel."""
        return sums[..., :1] * 0 + 1

    def most(self, side: Side) -> Array:
        """Return the largest scaling that a side may have."""
        return LARGEST

    def step(self, side: Side, sums: Array, level: Array) -> tuple[Array, Array]:
        """Return a side's scaling and a new t, given the kernel's sums under the other side's, and t."""
        return quotient(side.weights, sums), level

    def goal(self, side: Side, sums: Array, scaling: Array) -> tuple[Array, Array]:
        """Return which rows or columns have a target, and the targets, given sums of the plan and scaling."""
        return sums >= 0, side.weights


class Unbalanced(Rule):
    """Scale each row and column to (weight / sum) ** share, share = rho / (rho + epsilon).

    The measures r and c of the entropy are part of the scalings, not of the kernel.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.slack = 1 / share - 1  # epsilon / rho

    def start(self, Z: Tensor) -> Logs:
        """Return the scalings of balanced problems, shared by both sides where all costs are large."""
        rows, columns = largest_to_one(Z)
        shared = rows.amin(-1, keepdim=True)  # by one side alone, the other's would leave the range
        shared = torch.where(shared.abs() > _ONE_SIDED, shared / 2, 0.0)
        return rows - shared, columns + shared, Z.new_zeros(1, 1, 1)

    def anchor(self, logs: Tensor) -> Tensor:
        """Return the factor of the weights that the scaling in the kernel leaves."""
        return (logs * (self.share - 1)).exp().clamp(1 / LARGEST, LARGEST)

    def in_range(self, logs: Tensor) -> Tensor:
        """Return whether no row is to carry exp(40) times its weight, and some above exp(-40) times it."""
        return (logs * (self.share - 1)).amax((-2, -1)).abs() < math.log(LARGEST)

    def step(self, side: Side, sums: Array, level: Array) -> tuple[Array, Array]:
        """Return the scaling; t stays."""
        return quotient(side.weights * side.anchor, sums**self.share), level

    def goal(self, side: Side, sums: Array, scaling: Array) -> tuple[Array, Array]:
        """Return r exp(-f / rho); the whole scaling is r exp(f / epsilon)."""
        pull = side.anchor * (scaling + SMALLEST) ** (self.share - 1)
        return sums > 0, (side.weights * pull) ** (1 / self.share)


class Partial(Rule):
    """Scale rows and columns down to their weights, and all cells to the mass.

    With K = exp(-cost / epsilon) the plan is P = t diag(a) K diag(b), a <= 1, b <= 1, and t such that sum(P)
    is the mass. A row with a_i < 1 is full: its sum is its weight. The same for columns. Factors are at most
    the anchor, 1 over the scaling that the kernel holds.

    Args:
        level_steps: Newton steps on t for each scaling of a side.
    """

    keeps_mass = True

    def __init__(self, level_steps: int = 2) -> None:
        self.level_steps = level_steps

    def start(self, Z: Tensor) -> None:
        """Return None: nothing is known yet."""

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


def largest_to_one(Z: Tensor) -> tuple[Tensor, Tensor]:
    """Return logarithms for rows (B, 1, n) and columns (B, 1, m) that make each largest entry of exp(Z) 1."""
    rows = -Z.amax(-1, keepdim=True).clamp(min=-_NEVER)
    return rows.mT, -(Z + rows).amax(-2, keepdim=True).clamp(min=-_NEVER)


def lesser(x: Array, y: Array | float) -> Array:
    """Return the smaller of two, entry by entry."""
    return np.minimum(x, y) if isinstance(x, np.ndarray) else x.clamp(max=y)


def greater(x: Array, y: Array | float) -> Array:
    """Return the larger of two, entry by entry."""
    return np.maximum(x, y) if isinstance(x, np.ndarray) else x.clamp(min=y)


def quotient(x: Array, y: Array) -> Array:
    """Return x / y, at most ``LARGEST``, and 0 where y is 0."""
    return lesser(x / (y + SMALLEST), LARGEST) * (y > 0)


def vector(x: Tensor) -> Array:
    """Return a detached tensor as NumPy array, if it is on the CPU."""
    return x.detach().numpy() if x.device.type == "cpu" else x.detach()


def tensor(x: Array) -> Tensor:
    """Return a vector as tensor."""
    return torch.from_numpy(x) if isinstance(x, np.ndarray) else x


def choose(first: Array, x: Array, y: Array) -> Array:
    """Return x where ``first`` is True, else y."""
    return np.where(first, x, y) if isinstance(x, np.ndarray) else torch.where(first, x, y)
