"""The kinds of entropic problems: how each scales a side, and the targets of its sums.

Shapes: B problems, sides of n rows or m columns. Vectors are (B, 1, n) or (B, 1, m), one number a problem is
(B, 1, 1). They are NumPy arrays on the CPU, where NumPy handles a short vector in a third of the time that
torch takes, and tensors elsewhere and where gradients are needed. Rules use what both have in common.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = Any
# Logarithms of the scalings of rows, of columns, and of all cells together.
Logs: TypeAlias = tuple[Tensor, Tensor, Tensor]

SMALLEST = 1e-38  # added to divisors, so that 0 / 0 is 0
LARGEST = 2e17  # exp(40); a kernel entry times two such factors is in the range of float32
_NEVER = 1e20  # logarithms above this belong to sides that are forbidden as a whole


class Side(NamedTuple):
    """The rows, or the columns, of a problem.

    Attributes:
        weights: (B, 1, n) >= 0.
        anchor: (B, 1, n) what the rule needs of the scaling that the kernel holds already; 1.0 if none.
        mass: (B, 1, 1) mass to move; None if not given.
    """

    weights: Array
    anchor: Array
    mass: Array


class Rule(Protocol):
    """How one kind of problem scales a side.

    Attributes:
        keeps_mass: whether a factor of all cells gives the plan the required mass.
        slack: relative decrease of a target as the logarithm of the scaling rises by 1.
    """

    keeps_mass: bool
    slack: float

    def start(self, Z: Tensor) -> Logs | None:
        """Return scalings for the first kernel, given its logarithm (B, n, m); None for none."""
        ...

    def anchor(self, logs: Tensor) -> Tensor:
        """Return ``Side.anchor`` for a kernel that holds a scaling with these logarithms."""
        ...

    def first_level(self, rows: Side, sums: Array) -> Array:
        """Return the first factor of all cells, given the row sums of the kernel."""
        ...

    def most(self, side: Side) -> Array:
        """Return the largest scaling that a side may have."""
        ...

    def step(self, side: Side, sums: Array, level: Array) -> tuple[Array, Array]:
        """Return the scaling of one side and a new factor of all cells.

        ``sums`` are those of the kernel under the scaling of the other side, ``level`` is the old factor.
        """
        ...

    def goal(self, side: Side, sums: Array, scaling: Array) -> tuple[Array, Array]:
        """Return which rows or columns have a target (bool), and the targets.

        ``sums`` are those of the plan, ``scaling`` is that of the side.
        """
        ...


class SideBySide:
    """Shared by rules that scale rows and columns without a factor of all cells."""

    keeps_mass = False

    def start(self, Z: Tensor) -> Logs:
        """Bring the largest entry of each row and column of exp(Z) to 1."""
        rows = -Z.amax(-1, keepdim=True).clamp(min=-_NEVER)
        return rows.mT, -(Z + rows).amax(-2, keepdim=True).clamp(min=-_NEVER), Z.new_zeros(1, 1, 1)

    def first_level(self, rows: Side, sums: Array) -> Array:  # noqa: ARG002
        """Return 1, which never changes."""
        return sums[..., :1] * 0 + 1

    def most(self, side: Side) -> Array:  # noqa: ARG002
        """Return the bound that the range of float32 sets."""
        return LARGEST


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
