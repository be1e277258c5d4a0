"""Newton steps for partial plans on a graph, solved by conjugate gradients on the edges.

For a plan P with sums R = P 1 and C = P' 1, let h and k mark the rows and columns that are to meet their
weights r and c. The step changes log b by y (0 where k is 0) and log t by z. To first order, with rows that
are held following from the columns, x = h (r - R - P y) / R - z h,

    k (C y - P' (h / R * P y)) + k (C - P' h) z = k (c - C - P' (h (r - R) / R))
    (C - P' h)' y + (sum of R over free rows) z = mass - sum(R) - sum(h (r - R)).

An inner iteration costs as much as one scaling of both sides.

When it does not converge: the system is singular where all rows and columns are held; a ridge keeps it
solvable, and inner iterations stop at a part of the residual or at the limit. The caller tries parts of the
step and keeps none that raises the error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustcmr.transport.sparse_graph import Product

_RIDGE = 1e-6  # added to the diagonal, relative to it, because the system is singular where all is full
_CLOSE = 1e-2  # part of the residual that is left; the next step does the rest

Times = Callable[[Tensor], Tensor]


class Held(NamedTuple):
    """The rows, or the columns, of a plan."""

    factors: Tensor  # (n,) on top of the kernel
    sums: Tensor  # (n,) of the plan
    held: Tensor  # (n,) bool, which are to meet their weights
    weights: Tensor  # (n,)


def newton_move(
    kernel: Product, level: Tensor, rows: Held, columns: Held, mass: float, most: int
) -> tuple[Tensor, Tensor, int]:
    """Return a Newton step for log b and log t: y (m,), scalar z, and the inner iterations done.

    The plan is level * diag(rows.factors) K diag(columns.factors), with a scalar level t.
    """
    R, C = rows.sums, columns.sums
    h, k = rows.held.to(R), (columns.held & (C > 0)).to(C)  # nothing moves what carries nothing
    per_row = torch.where(R > 0, h / torch.where(R > 0, R, 1.0), 0.0)
    to_rows: Times = lambda y: level * rows.factors * kernel.rows(columns.factors * y)  # noqa: E731
    to_columns: Times = lambda x: level * columns.factors * kernel.columns(rows.factors * x)  # noqa: E731
    late = per_row * (rows.weights - R)  # relative shortfall of held rows
    free = k * (C - to_columns(h))  # (m,) mass that held columns get from free rows
    rest = (R * (1 - h)).sum()
    total = R.sum()
    last = mass - total - (R * late).sum()
    right = torch.cat([k * (columns.weights - C - to_columns(late)), last.reshape(1)])
    diagonal = torch.cat([torch.where(k > 0, C, 1.0), (rest + _RIDGE * total).reshape(1)])

    def times(v: Tensor) -> Tensor:
        y, z = k * v[:-1], v[-1]
        along = C * y - to_columns(per_row * to_rows(y))
        last = free @ y + (rest + _RIDGE * total) * z
        return torch.cat([k * (along + _RIDGE * C * y) + free * z, last.reshape(1)])

    found, done = _conjugate_gradients(times, right, diagonal, most)
    return k * found[:-1], found[-1], done


def _conjugate_gradients(times: Times, right: Tensor, diagonal: Tensor, most: int) -> tuple[Tensor, int]:
    """Return the solution of a positive definite system to part of its residual, and the iterations done."""
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
