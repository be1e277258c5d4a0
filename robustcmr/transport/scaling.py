"""The iteration that all entropic solvers share: rows and columns scaled in turn, batched.

A plan is P = t diag(a) K diag(b). The kernel K holds the scalings found so far,

    K_ij = exp(-cost_ij / epsilon + f_i + g_j + h),

and a, b and t come on top. With F and G the rules of the kind of problem, one iteration is

    a, t <- F(K b, t),    b, t <- G(K' a, t),

two products of the kernel with a vector. In the balanced problem F is row_weights / (K b) and t stays 1. Once
max(a) max(b) t exceeds exp(20), log a, log b and log t move into f, g and h and K is computed again, so
nothing leaves the range of float32 however small epsilon is. The error is the sum of all deviations of the
sums of rows and columns from their targets, and of the mass, relative to the mass.

When it does not converge: the iteration is slow where few cells hold many rows and columns to their weights,
above all for small epsilon. Newton steps on log b and log t are then tried, whole or in part, and kept if
they reduce the error. If the error exceeds the tolerance after ``max_iterations``, one warning is logged and
the plan has ``converged`` False. Remedies: a larger epsilon, more iterations, float64 for tolerances below
1e-6, or less mass, because scalings are infinite where a mask can just carry the mass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from robustcmr.transport.rules import Array, Logs, Rule, Side, choose, lesser, tensor, vector

STRAYED = 5e8  # exp(20); cells that a kernel leaves out weigh nothing at such factors
LOWEST = -64.0  # logarithm below which a kernel is 0: exp() and products are far slower near underflow
_UNSEEN = 10  # most iterations between two looks at the error
_TRIALS = 4  # of parts of a Newton step, each a quarter of the one before
_LEAP = 20.0  # most that a Newton step may change a logarithm


class State(NamedTuple):
    """Factors on top of a kernel, and its sums under them."""

    rows: Array  # (B, 1, n) a
    columns: Array  # (B, 1, m) b
    level: Array  # (B, 1, 1) t
    row_sums: Array  # (B, 1, n) K b
    column_sums: Array  # (B, 1, m) K' a

    @property
    def sums(self) -> tuple[Array, Array]:
        """Return the sums of the plan's rows (B, 1, n) and columns (B, 1, m)."""
        return self.level * self.rows * self.row_sums, self.level * self.columns * self.column_sums

    @property
    def strayed(self) -> bool:
        """Return whether the kernel must be computed again."""
        return bool((_largest(self.rows) * _largest(self.columns) * self.level > STRAYED).any())


class Kernel(Protocol):
    """A kernel, dense or sparse; vectors are (B, 1, n) and (B, 1, m)."""

    rule: Rule
    logs: Logs | None  # scalings that it holds
    sides: tuple[Side, Side]  # rows and columns
    patience: float  # iterations before the first Newton step

    def row_sums(self, b: Array | None) -> Array:
        """Return K b; None is a vector of ones."""

    def column_sums(self, a: Array) -> Array:
        """Return K' a."""

    def newton(self, state: State, unsolved: Tensor, most: int) -> Step:
        """Return a Newton step of unsolved problems, (B,) bool, with at most so many inner iterations."""

    def wait(self, before: Array, after: Array, patience: float) -> float:
        """Return the iterations before the next Newton step, given errors before and after the last."""

    def renewed(self, logs: Logs) -> Kernel:
        """Return the kernel that holds other scalings."""


# Which problems, changes of log b (k, m) and of log t (k, 1), and inner iterations done.
Step: TypeAlias = tuple[Tensor | slice, Tensor, Tensor, int]
# From row sums, level, most iterations and tolerance: state, error and iterations after many iterations at
# once. None where that is not possible.
Sweeper: TypeAlias = Callable[[Kernel, Array, Array, int, float], tuple[State, Array, int] | None]


def iterate(
    kernel: Kernel,
    tolerance: float,
    most: int,
    *,
    warm: bool = False,
    sweeper: Sweeper | None = None,
    suspect: Callable[[int], None] | None = None,
) -> tuple[Kernel, State, int, Array]:
    """Scale a kernel until the error of all problems of the batch is within the tolerance.

    A ``warm`` kernel is near a plan already. ``suspect`` is called with the iterations done, and may raise.

    Returns:
        Last kernel, state, iterations (at most ``most`` >= 1) and error (B, 1).
    """
    done, level = 0, None
    while True:
        row_sums = kernel.row_sums(None)
        if level is None and not warm:
            level = kernel.rule.first_level(kernel.sides[0], row_sums)
        else:
            level = row_sums[..., :1] * 0 + 1
        since, strayed, patience = 0, False, kernel.patience  # since: iterations after the last Newton step
        while not strayed:
            swept = None
            if sweeper is not None:
                count = min(max(1, math.ceil(patience) - since), most - done)
                swept = sweeper(kernel, row_sums, level, count, tolerance)
            if swept is None:
                sweeper = None
                count = min(max(1, since // 2), _UNSEEN, most - done)
                for _ in range(count):
                    state = sweep(kernel, row_sums, level)
                    row_sums, level = state.row_sums, state.level
                swept = state, missed(kernel, state), count
            state, error, count = swept
            row_sums, level = state.row_sums, state.level
            done, since = done + count, since + count
            if since >= patience and done < most and error.max() > tolerance:
                before = error
                state, error, count = _leap(kernel, state, error, tolerance, most - done)
                row_sums, level = state.row_sums, state.level
                done, since = done + count, 0
                patience = kernel.wait(before, error, patience)
            strayed = state.strayed
            if done >= most or (error.max() <= tolerance and not strayed):
                return kernel, state, done, error
            if suspect is not None:
                suspect(done)
        kernel = kernel.renewed(held(kernel, state))


def held(kernel: Kernel, state: State) -> Logs:
    """Return the logarithms of all scalings, those of the kernel and those on top; float64 where possible."""
    rows, columns, level = on_top(state)
    if kernel.logs is None:
        return rows, columns, level
    return rows + kernel.logs[0], columns + kernel.logs[1], level + kernel.logs[2]


def on_top(state: State) -> Logs:
    """Return the logarithms of the scalings on top of the kernel; float64 where possible."""
    moves = (tensor(x) for x in (state.rows, state.columns, state.level))
    wide = (x if x.device.type == "mps" else x.double() for x in moves)  # rounding would show in the sums
    rows, columns, level = (torch.where(x > 0, x, 1.0).log() for x in wide)
    return rows, columns, level


def sweep(kernel: Kernel, row_sums: Array, level: Array) -> State:
    """Return the state after one iteration, from K b and t."""
    rows, columns = kernel.sides
    a, level = kernel.rule.step(rows, row_sums, level)
    column_sums = kernel.column_sums(a)
    b, level = kernel.rule.step(columns, column_sums, level)
    return State(a, b, level, kernel.row_sums(b), column_sums)


def missed(kernel: Kernel, state: State) -> Array:
    """Return the error, (B, 1)."""
    total: Array = 0.0
    sums, scalings = state.sums, (state.rows, state.columns)
    for side, side_sums, scaling in zip(kernel.sides, sums, scalings, strict=True):
        has_target, target = kernel.rule.goal(side, side_sums, scaling)
        total = total + (has_target * abs(side_sums - target)).sum(-1)
    mass = sums[0].sum(-1)
    if kernel.rule.keeps_mass:
        total = total + abs(mass - kernel.sides[0].mass[..., 0])
    return total / mass


def _leap(
    kernel: Kernel, state: State, error: Array, tolerance: float, most: int
) -> tuple[State, Array, int]:
    """Return state and error after a Newton step of unsolved problems, or of a part of it, if better.

    The number returned with them is its cost in iterations.
    """
    which, columns_move, level_move, inner = kernel.newton(state, tensor(error[:, 0] > tolerance), most)
    farthest = torch.cat([columns_move, level_move], -1).abs().amax(-1, keepdim=True)
    part = _LEAP / farthest.clamp(min=_LEAP)
    best, least, trials = state, error, 0
    while trials < _TRIALS:
        b, level = tensor(state.columns).clone(), tensor(state.level).clone()
        b[which] *= (part * columns_move).exp().unsqueeze(1).to(b)
        level[which] *= (part * level_move).exp().unsqueeze(1).to(b)
        columns = lesser(vector(b), kernel.rule.most(kernel.sides[1]))
        moved = sweep(kernel, kernel.row_sums(columns), vector(level))
        moved_error = missed(kernel, moved)
        trials += 1
        better = (moved_error < least)[..., None]
        best = State(*(choose(better, x, y) for x, y in zip(moved, best, strict=True)))
        least = choose(better[..., 0], moved_error, least)
        if (least < error)[which].all():
            break
        part = part / 4
    return best, least, inner + trials if inner else 1


def _largest(x: Array) -> Array:
    return x.max(-1, keepdims=True) if not isinstance(x, Tensor) else x.amax(-1, keepdim=True)
