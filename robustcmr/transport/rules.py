"""What distinguishes the kinds of entropic problems: how a side is scaled, and what its sums should be."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from torch import Tensor

# Vectors of the iteration, (B, 1, n): NumPy's on the CPU, where a call on a short vector takes a third of the
# time that it takes in torch, and tensors elsewhere and where gradients are wanted. Rules are written once,
# with the operators and methods that both have.
Array: TypeAlias = Any
# Logarithms of scalings of rows, (B, 1, n), of columns, (B, 1, m), and of all cells, (B, 1, 1).
Logs: TypeAlias = tuple[Tensor, Tensor, Tensor]

SMALLEST = 1e-38  # added to divisors, so that nothing over nothing is nothing
LARGEST = 2e17  # exp(40); a kernel entry times two such factors is in the range of float32
_NEVER = 1e20  # logarithms above this are of sides that are forbidden as a whole: they stay out of the kernel


class Side(NamedTuple):
    """What the rows, or the columns, of a problem are asked for.

    Attributes:
        weights: (B, 1, n) >= 0.
        anchor: (B, 1, n) what the rule must know of the scaling that the kernel holds already, 1.0 if none.
        mass: (B, 1, 1) mass to move; None where that is not given.
    """

    weights: Array
    anchor: Array
    mass: Array


class Rule(Protocol):
    """How one kind of problem scales a side.

    Attributes:
        keeps_mass: whether all cells are scaled together such that the plan has the mass asked for.
        slack: by how much of itself a target falls as the logarithm of the scaling rises by 1.
    """

    keeps_mass: bool
    slack: float

    def start(self, Z: Tensor) -> Logs | None:
        """Scalings that the first kernel is to hold, for a log kernel (B, n, m); None for none."""
        ...

    def anchor(self, logs: Tensor) -> Tensor:
        """What the other calls must know of a scaling that the kernel holds, by its logarithms (B, 1, n)."""
        ...

    def first_level(self, rows: Side, sums: Array) -> Array:
        """Factor of all cells to start from, (B, 1, 1), given the sums (B, 1, n) of the kernel."""
        ...

    def most(self, side: Side) -> Array:
        """The largest scaling that a side may have."""
        ...

    def step(self, side: Side, sums: Array, level: Array) -> tuple[Array, Array]:
        """Scale one side.

        Args:
            side: the rows or the columns.
            sums: (B, 1, n) sums of the kernel under the scaling of the other side.
            level: (B, 1, 1) factor of all cells.

        Returns:
            The scaling of the side, (B, 1, n), and the new factor.
        """
        ...

    def goal(self, side: Side, sums: Array, scaling: Array) -> tuple[Array, Array]:
        """Which rows or columns are held to a target, (B, 1, n) bool, and the targets, (B, 1, n).

        Args:
            side: the rows or the columns.
            sums: (B, 1, n) sums of the plan.
            scaling: (B, 1, n) scaling of the side.
        """
        ...


class SideBySide:
    """What rules share that scale rows and columns without a factor of all cells."""

    keeps_mass = False

    def start(self, Z: Tensor) -> Logs:
        """Bring the largest entry of each row and column of exp(Z) to 1."""
        rows = -Z.amax(-1, keepdim=True).clamp(min=-_NEVER)
        return rows.mT, -(Z + rows).amax(-2, keepdim=True).clamp(min=-_NEVER), Z.new_zeros(1, 1, 1)

    def first_level(self, rows: Side, sums: Array) -> Array:  # noqa: ARG002
        """The factor 1, which is never changed."""
        return sums[..., :1] * 0 + 1

    def most(self, side: Side) -> Array:  # noqa: ARG002
        """No bound but that of the numbers."""
        return LARGEST


def lesser(x: Array, y: Array | float) -> Array:
    """The smaller of two, entry by entry."""
    return np.minimum(x, y) if isinstance(x, np.ndarray) else x.clamp(max=y)


def greater(x: Array, y: Array | float) -> Array:
    """The larger of two, entry by entry."""
    return np.maximum(x, y) if isinstance(x, np.ndarray) else x.clamp(min=y)


def quotient(x: Array, y: Array) -> Array:
    """Quotient x / y, at most ``LARGEST``, and nothing where y is."""
    return lesser(x / (y + SMALLEST), LARGEST) * (y > 0)
