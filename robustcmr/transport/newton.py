"""Newton steps for scalings: where alternating them crawls, and for the gradient at the end.

Scaling in turn is slow where a row and a column are both held to their weights by the one cell that they
share; a Newton step on all that is held at once is not. Its Hessian is that of the dual problem. Rows that
are not held rise and fall together, as one more row whose weight is the mass that the held rows leave.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_PASSES = 8  # most times that some are let go and the step is worked out anew
_RIDGE = 1e-12  # relative
_NOTHING = 1e-9  # share of the mass below which no row counts as free to rise


class Goal(NamedTuple):
    """What the rows, or the columns, of a plan should sum to.

    Attributes:
        held: (B, n) bool, True where the target is to be met; the scaling of others stays.
        target: (B, n).
        room: (B, n) most that the logarithm of the scaling may rise; who would rise more is let go there.
        slack: by how much of itself a target falls as that logarithm rises by 1.
    """

    held: Tensor
    target: Tensor
    room: Tensor
    slack: float


class Move(NamedTuple):
    """Changes of the logarithms of the scalings of rows (B, n), columns (B, m) and all cells (B, 1)."""

    rows: Tensor
    columns: Tensor
    level: Tensor


def newton_move(P: Tensor, rows: Goal, columns: Goal, mass: Tensor | None) -> Move:
    """One Newton step; its gradients are those of the solution, where it starts from one.

    Args:
        P: (B, n, m) plan.
        rows: what rows should sum to.
        columns: what columns should sum to.
        mass: (B, 1) sum of all rows, held or not, which a factor of all cells sees to; None without one.

    Returns:
        The changes, in float64 where the device has it.

    References:
        Brauer, Clason, Lorenz and Wirth, "A Sinkhorn-Newton method for entropic optimal transport", 2017, for
        the balanced problem.
    """
    wide = P.dtype if P.device.type == "mps" else torch.float64
    tiny = torch.finfo(wide).tiny
    row_sums, column_sums = P.sum(-1, dtype=wide), P.sum(-2, dtype=wide)
    i, j = (goal.held.any(0).nonzero().flatten() for goal in (rows, columns))  # held in some problem
    held_r, held_c = rows.held.to(wide), columns.held.to(wide)
    with torch.no_grad():  # at a solution the Hessian's own gradient is that of a factor of zero
        if len(i) == P.shape[1] and len(j) == P.shape[2]:
            held_c = held_c - _redundant(rows, columns)
        stiff_r = (row_sums + rows.slack * rows.target).clamp(min=tiny)
        stiff_c = (column_sums + columns.slack * columns.target)[:, j] * (1 + _RIDGE)
        stiff_c = torch.where(stiff_c > 0, stiff_c, 1.0)  # of columns without weight
        PJ = P[:, :, j].to(wide)  # (B, n, J)
    held_c, room_c = held_c[:, j], columns.room[:, j]  # (B, J)
    fixed_r, fixed_c = torch.zeros_like(held_r), torch.zeros_like(held_c)  # changes of those that were let go
    for _ in range(_PASSES):
        idle = 1 - held_r
        short_r = held_r * (rows.target - row_sums)
        with torch.no_grad():
            share = PJ[:, i] * (held_r / stiff_r)[:, i].unsqueeze(-1)  # (B, I, J)
            H = torch.diag_embed(stiff_c) - PJ[:, i].mT @ share  # (B, J, J): held rows follow the columns
        short_c = (
            (columns.target - column_sums)[:, j] - _product(fixed_r, PJ) - _product(short_r[:, i], share)
        )
        if mass is not None:  # so do the others, together
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
            level = (
                torch.where(some_idle, short_idle - (q * by_column).sum(-1, keepdim=True), 0.0) / idle_mass
            )
            by_row = by_row - held_r * level + idle * fixed_r
        free_r, free_c = held_r * (by_row > rows.room), held_c * (by_column > room_c)
        if not bool(free_r.any() | free_c.any()):
            break
        held_r, held_c = held_r - free_r, held_c - free_c
        fixed_r, fixed_c = (
            torch.where(free_r > 0, rows.room, fixed_r),
            torch.where(free_c > 0, room_c, fixed_c),
        )
    return Move(by_row, torch.zeros_like(column_sums).index_add(1, j, by_column), level)


def _redundant(rows: Goal, columns: Goal) -> Tensor:
    """(B, m) 1 for the heaviest column where all rows and columns are held: the others leave it no choice."""
    full = [goal.held.all(-1, keepdim=True) for goal in (rows, columns)]
    heaviest = torch.zeros_like(columns.target).scatter(1, columns.target.argmax(-1, keepdim=True), 1.0)
    return heaviest * (full[0] & full[1]) * (rows.slack == 0)


def _product(x: Tensor, A: Tensor) -> Tensor:
    """Product of a row and a matrix: (B, k), (B, k, l) -> (B, l)."""
    return (x.unsqueeze(-2) @ A).squeeze(-2)
