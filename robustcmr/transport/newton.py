"""Newton steps for scalings, where alternating them is slow, and for the gradient of a plan.

For a plan P with row sums R and column sums C, let x, y and z be the changes of log a, log b and log t. Rows
and columns that are held have targets r and c; x and y of the others are 0. To first order, with s the slack
of a target (r falls by s r x),

    (R + s r) x + P y + R z = r - R         for held rows,
    (C + s c) y + P' x + C z = c - C        for held columns,
    sum(R x) + sum(C y) + sum(R) z = mass - sum(R),  or z = 0 where no mass is given.

Held rows are eliminated, and so is z with the free rows, so a symmetric system H y = ... of the columns is
left. Its matrix is the Hessian of the dual problem. A row or column whose x or y exceeds its room is set to
that room and let go, and the system is solved again.

When it does not converge: if all rows and columns are held, H is singular, and the heaviest column is left
out. A step may overshoot far from the solution; ``scaling`` tries parts of it and keeps none that raises the
error.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_PASSES = 8  # most solutions of the system
_RIDGE = 1e-12  # relative
_NOTHING = 1e-9  # share of the mass below which no row counts as free to rise


class Goal(NamedTuple):
    """Targets of the rows, or the columns, of a plan."""

    held: Tensor  # (B, n) bool, which are to meet their target; the scaling of others stays
    target: Tensor  # (B, n)
    room: Tensor  # (B, n) most that the logarithm of the scaling may rise
    slack: float  # s


class Move(NamedTuple):
    """Changes x (B, n), y (B, m) and z (B, 1)."""

    rows: Tensor
    columns: Tensor
    level: Tensor


def newton_move(P: Tensor, rows: Goal, columns: Goal, mass: Tensor | None) -> Move:
    """Return one Newton step; from a solution, its gradients are those of the solution.

    The plan P is (B, n, m), ``mass`` the sum of all cells (B, 1), or None for z = 0. Changes are float64
    where the device has it.

    References:
        Brauer, Clason, Lorenz and Wirth, "A Sinkhorn-Newton method for entropic optimal transport", 2017, for
        the balanced problem.
    """
    wide = P.dtype if P.device.type == "mps" else torch.float64
    tiny = torch.finfo(wide).tiny
    row_sums, column_sums = P.sum(-1, dtype=wide), P.sum(-2, dtype=wide)
    i, j = (goal.held.any(0).nonzero().flatten() for goal in (rows, columns))  # held in some problem
    held_r, held_c = rows.held.to(wide), columns.held.to(wide)
    with torch.no_grad():  # at a solution the gradient by the Hessian has a factor of 0
        if len(i) == P.shape[1] and len(j) == P.shape[2]:
            held_c = held_c - _redundant(rows, columns)
        stiff_r = (row_sums + rows.slack * rows.target).clamp(min=tiny)
        stiff_c = (column_sums + columns.slack * columns.target)[:, j] * (1 + _RIDGE)
        stiff_c = torch.where(stiff_c > 0, stiff_c, 1.0)  # of columns without weight
        PJ = P[:, :, j].to(wide)  # (B, n, J)
    held_c, room_c = held_c[:, j], columns.room[:, j]  # (B, J)
    fixed_r, fixed_c = torch.zeros_like(held_r), torch.zeros_like(held_c)  # changes of those let go
    for _ in range(_PASSES):
        idle = 1 - held_r
        short_r = held_r * (rows.target - row_sums)
        with torch.no_grad():
            share = PJ[:, i] * (held_r / stiff_r)[:, i].unsqueeze(-1)  # (B, I, J)
            H = torch.diag_embed(stiff_c) - PJ[:, i].mT @ share  # (B, J, J), held rows eliminated
        short_c = (columns.target - column_sums)[:, j] - _product(fixed_r, PJ)
        short_c = short_c - _product(short_r[:, i], share)
        if mass is not None:  # free rows and z eliminated
            short_idle = mass - (rows.target * held_r + row_sums * idle * (1 + fixed_r)).sum(-1, keepdim=True)
            with torch.no_grad():
                idle_mass = (idle * row_sums).sum(-1, keepdim=True).clamp(min=tiny)  # (B, 1)
                some_idle = idle_mass > _NOTHING * mass
                q = _product(idle, PJ)  # (B, J)
                H = H - q.unsqueeze(-1) * (q / idle_mass).unsqueeze(-2)
            short_c = short_c - q / idle_mass * short_idle
        with torch.no_grad():
            both = (held_c.unsqueeze(-1) * held_c.unsqueeze(-2)) > 0
            inner = torch.where(both, H, torch.diag_embed(1 - held_c))
        by_column = fixed_c + torch.linalg.solve_ex(inner, held_c * (short_c - _product(fixed_c, H)))[0]
        by_row = held_r * (short_r - _product(by_column, PJ.mT)) / stiff_r
        level = torch.zeros_like(by_row[:, :1])
        if mass is not None:
            short_idle = short_idle - (q * by_column).sum(-1, keepdim=True)
            level = torch.where(some_idle, short_idle, 0.0) / idle_mass
            by_row = by_row - held_r * level + idle * fixed_r
        free_r, free_c = held_r * (by_row > rows.room), held_c * (by_column > room_c)
        if not bool(free_r.any() | free_c.any()):
            break
        held_r, held_c = held_r - free_r, held_c - free_c
        fixed_r = torch.where(free_r > 0, rows.room, fixed_r)
        fixed_c = torch.where(free_c > 0, room_c, fixed_c)
    return Move(by_row, torch.zeros_like(column_sums).index_add(1, j, by_column), level)


def _redundant(rows: Goal, columns: Goal) -> Tensor:
    """Return (B, m), 1 for the heaviest column where all rows and columns are held: the others imply it."""
    full = [goal.held.all(-1, keepdim=True) for goal in (rows, columns)]
    heaviest = torch.zeros_like(columns.target).scatter(1, columns.target.argmax(-1, keepdim=True), 1.0)
    return heaviest * (full[0] & full[1]) * (rows.slack == 0)


def _product(x: Tensor, A: Tensor) -> Tensor:
    """Return the product of a row and a matrix: (B, k), (B, k, l) -> (B, l)."""
    return (x.unsqueeze(-2) @ A).squeeze(-2)
