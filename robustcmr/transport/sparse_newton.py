"""Newton steps for partial plans on a graph, solved by conjugate gradients: no matrix but the kernel's edges.

Scaling rows and columns in turn crawls where many of them hold each other. The equations of a Newton step
have the plan itself as their matrix, so an inner iteration costs as much as one scaling of both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustcmr.transport.sparse_graph import Product

_RIDGE = 1e-6  # added to the diagonal, relative to it: where all is full the equations leave one thing open
_CLOSE = 1e-2  # of the residual is left; the next step does the rest

Times = Callable[[Tensor], Tensor]


class Held(NamedTuple):
    """What the rows, or the columns, of a plan should be.

    Attributes:
        factors: (n,) of the kernel.
        sums: (n,) of the plan.
        held: (n,) bool, which are to meet their weights.
        weights: (n,).
    """

    factors: Tensor
    sums: Tensor
    held: Tensor
    weights: Tensor


def newton_move(
    kernel: Product, level: Tensor, rows: Held, columns: Held, mass: float, most: int
) -> tuple[Tensor, Tensor, int]:
    """By how much logarithms of the columns' factors and of the common one should change.

    Held sums are to meet their weights and the whole the mass, to first order. The rows are eliminated: they
    follow from the columns.

    Args:
        kernel: of the plan ``level * rows * kernel * columns``.
        level: scalar, the common factor.
        rows: of the plan.
        columns: of the plan.
        mass: to be moved.
        most: inner iterations at most.

    Returns:
        (m,) changes of the columns, 0 where they are not held, the scalar change of the common factor, and
        how many inner iterations were done.
    """
    R, C = rows.sums, columns.sums
    h, k = rows.held.to(R), (columns.held & (C > 0)).to(C)  # nothing moves what carries nothing
    per_row = torch.where(R > 0, h / torch.where(R > 0, R, 1.0), 0.0)
    to_rows: Times = lambda y: level * rows.factors * kernel.rows(columns.factors * y)  # noqa: E731
    to_columns: Times = lambda x: level * columns.factors * kernel.columns(rows.factors * x)  # noqa: E731
    late = per_row * (rows.weights - R)  # what the held rows lack, relative to their sums
    free = k * (C - to_columns(h))  # (m,) what held columns have from rows that are not held
    rest = (R * (1 - h)).sum()
    total = R.sum()
    right = torch.cat(
        [
            k * (columns.weights - C - to_columns(late)),
            (mass - total - (R * late).sum()).reshape(1),
        ]
    )
    diagonal = torch.cat([torch.where(k > 0, C, 1.0), (rest + _RIDGE * total).reshape(1)])

    def times(v: Tensor) -> Tensor:
        y, z = k * v[:-1], v[-1]
        along = C * y - to_columns(per_row * to_rows(y))
        return torch.cat([k * (along + _RIDGE * C * y) + free * z, (free @ y + rest * z).reshape(1)]) + (
            _RIDGE * total * _last(v)
        )

    found, done = _conjugate_gradients(times, right, diagonal, most)
    return k * found[:-1], found[-1], done


def _last(v: Tensor) -> Tensor:
    """The vector with all but its last entry 0."""
    only = torch.zeros_like(v)
    only[-1] = v[-1]
    return only


def _conjugate_gradients(times: Times, right: Tensor, diagonal: Tensor, most: int) -> tuple[Tensor, int]:
    """Solution of a positive definite system to part of its residual, and the iterations done."""
    x, r = torch.zeros_like(right), right
    p = z = r / diagonal
    size = r @ z
    goal, done = _CLOSE**2 * size, 0
    while done < most and bool(size > goal):
        Ap = times(p)
        curvature = p @ Ap
        if not bool(curvature > 0):  # rounding is all that is left
            break
        step = size / curvature
        x, r = x + step * p, r - step * Ap
        z = r / diagonal
        size, before = r @ z, size
        p = z + size / before * p
        done += 1
    return x, done
