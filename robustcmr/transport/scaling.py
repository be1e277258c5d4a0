"""The iteration that all entropic solvers share: rows and columns scaled in turn, batched.

A plan is a kernel with its rows, its columns and all of it scaled, and an iteration costs two products of the
kernel with a vector. The kernel is worked out from logarithms, and anew as soon as the scalings stray far
from what it holds, so nothing leaves the range of float32 however small epsilon is. Where the iteration
crawls, Newton steps help it on.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robustcmr.transport.newton import Goal, Move, newton_move
from robustcmr.transport.problems import Problem, overloaded, refuse_infeasible
from robustcmr.transport.rules import SMALLEST, Array, Logs, Rule, Side, lesser
from robustcmr.transport.triton_partial import PATIENCE, Sweeper
from robustcmr.types import TransportPlan

_STRAYED = 5e8  # exp(20); cells that a kernel leaves out weigh nothing at such factors
_LOWEST = -64.0  # logarithm of what a kernel leaves out: exp() and products are far slower near underflow
_LEAST = 1.01 * math.exp(_LOWEST)
_UNSEEN = 10  # most iterations between two looks at the error
_SUSPICIOUS = 20  # iterations after which a mask may be at fault
_PATIENCE = 4  # iterations before the first Newton step, which costs as much as some twenty
_TRIALS = 4  # of parts of a Newton step, each a quarter of the one before
_LEAP = 20.0  # most that a Newton step may change a logarithm
_LARGEST_SIDE = 4096  # of problems that take Newton steps, which need the cube of it
_CELLS = 2**24  # most that take one at once, for the memory that it needs
_EVERY = slice(None)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How to solve an entropic problem.

    Attributes:
        epsilon: smoothing > 0, in units of cost.
        tolerance: marginal error at which a problem counts as solved.
        max_iterations: most scalings of rows and columns.
        differentiable: whether the plan carries gradients.
    """

    epsilon: float
    tolerance: float
    max_iterations: int
    differentiable: bool

    def __post_init__(self) -> None:
        if not (self.epsilon > 0 and self.tolerance > 0 and self.max_iterations >= 1):
            raise ValueError(
                "epsilon and tolerance must be positive and max_iterations at least 1, "
                f"got {self.epsilon}, {self.tolerance} and {self.max_iterations}"
            )


class _Kernel(NamedTuple):
    """A kernel (B, n, m), the logarithms of the scalings that it holds, and what its sides are asked for."""

    values: Tensor
    logs: Logs | None
    rows: Side
    columns: Side


class _State(NamedTuple):
    """What turns the kernel into a plan, and sums that are known on the way.

    Attributes:
        rows: (B, 1, n) factors.
        columns: (B, 1, m) factors.
        level: (B, 1, 1) factor of all cells.
        row_sums: (B, 1, n) sums of the kernel under the factors of the columns.
        column_sums: (B, 1, m) sums of the kernel under the factors of the rows.
    """

    rows: Array
    columns: Array
    level: Array
    row_sums: Array
    column_sums: Array

    @property
    def sums(self) -> tuple[Array, Array]:
        """Sums of rows (B, 1, n) and columns (B, 1, m) of the plan."""
        return self.level * self.rows * self.row_sums, self.level * self.columns * self.column_sums

    @property
    def strayed(self) -> bool:
        """Whether a cell could be so many times its value in the kernel that what that leaves out matters."""
        return bool((_largest(self.rows) * _largest(self.columns) * self.level > _STRAYED).any())


def solve(rule: Rule, problem: Problem, settings: Settings, sweeper: Sweeper | None = None) -> TransportPlan:
    """Run the iteration to its tolerance.

    Args:
        rule: the kind of problem.
        problem: the problem.
        settings: how to solve it.
        sweeper: what does many of this rule's scalings in one launch; None where nothing does.

    Returns:
        The plan; the iteration stops once all problems of the batch are solved.

    Raises:
        InfeasibleTransportError: if it does not converge because the mass cannot be carried.
    """
    with torch.no_grad(), np.errstate(all="ignore"):
        kernel, state, iterations, error = _iterate(rule, problem, settings, sweeper)
    converged = error <= settings.tolerance
    if not converged.all():
        _log.warning(
            "%d of %d transport problems did not converge in %d iterations: error %.2g, asked for %.2g",
            int((~converged).sum()),
            len(converged),
            iterations,
            float(error.max()),
            settings.tolerance,
        )
        if problem.mass is not None:
            refuse_infeasible(problem, _tensor(~converged).view(problem.batch))
    if settings.differentiable and torch.is_grad_enabled():
        plan = _with_graph(rule, problem, settings, kernel.logs, state)
        row_sums, column_sums = plan.sum(-1), plan.sum(-2)
    else:
        plan = kernel.values.mul_(_tensor(state.rows * state.level).mT).mul_(_tensor(state.columns))
        row_sums, column_sums = state.sums
    batch, (n, m) = problem.batch, plan.shape[1:]
    row_sums, column_sums = row_sums.reshape(*batch, n), column_sums.reshape(*batch, m)
    return TransportPlan(
        plan.view(*batch, n, m),
        _tensor(row_sums),
        _tensor(column_sums),
        torch.as_tensor(row_sums.sum(-1)),
        iterations,
        _tensor(error.reshape(batch)),
        _tensor(converged.reshape(batch)),
    )


def _iterate(
    rule: Rule, problem: Problem, settings: Settings, sweeper: Sweeper | None
) -> tuple[_Kernel, _State, int, Array]:
    """Kernel, state, number of iterations and error (B, 1) at the end of the way."""
    Z = _log_kernel(problem, settings.epsilon)
    kernel = _kernel(rule, problem, Z, rule.start(Z))
    level: Array = None
    done, most, tolerance = 0, settings.max_iterations, settings.tolerance
    checked = False  # whether the mass was compared with what the mask lets pass
    while True:
        row_sums = _vector(kernel.values.sum(-1, keepdim=True).mT)
        level = rule.first_level(kernel.rows, row_sums) if level is None else level * 0 + 1
        since, strayed = 0, False  # since: iterations after the last Newton step
        patience = _patience(kernel, most, sweeper)
        while not strayed:
            swept = None
            if sweeper is not None:
                count = min(max(1, math.ceil(patience) - since), most - done)
                given = kernel.rows, kernel.columns, row_sums, level
                swept = sweeper(kernel.values, *given, count, tolerance, _STRAYED)
            if swept is None:
                sweeper = None
                count = min(max(1, since // 2), _UNSEEN, most - done)
                for _ in range(count):
                    state = _sweep(rule, kernel, row_sums, level)
                    row_sums, level = state.row_sums, state.level
                error = _error(rule, kernel, state)
            else:
                *sums, error, count = swept
                state = _State(*sums)
                row_sums, level = state.row_sums, state.level
            done, since = done + count, since + count
            if since >= patience and done < most and error.max() > tolerance:
                before = error
                state, error = _leap(rule, kernel, state, error, tolerance)
                row_sums, level = state.row_sums, state.level
                done, since = done + 1, 0
                if (error < 0.5 * before).any():
                    patience = 1
                elif not (error < before).any():
                    patience *= 2
            strayed = state.strayed
            if done == most or (error.max() <= tolerance and not strayed):
                return kernel, state, done, error
            if problem.mass is not None and not checked and done >= _SUSPICIOUS:
                checked = True
                refuse_infeasible(problem, overloaded(problem).view(problem.batch))
        kernel = _renew(rule, problem, settings, kernel, state)


def _renew(rule: Rule, problem: Problem, settings: Settings, kernel: _Kernel, state: _State) -> _Kernel:
    """The kernel that holds all scalings so far."""
    moves = (_wide(_tensor(x)) for x in (state.rows, state.columns, state.level))
    rows, columns, level = (torch.where(x > 0, x, 1.0).log() for x in moves)
    if kernel.logs is not None:
        rows, columns, level = rows + kernel.logs[0], columns + kernel.logs[1], level + kernel.logs[2]
    return _kernel(rule, problem, _log_kernel(problem, settings.epsilon), (rows, columns, level))


def _with_graph(rule: Rule, problem: Problem, settings: Settings, logs: Logs | None, state: _State) -> Tensor:
    """(B, n, m) plan with its graph: a Newton step from a solution has the gradient of the solution."""
    kernel = _kernel(rule, problem, _log_kernel(problem, settings.epsilon), logs, graph=True)
    P, move = _newton(rule, kernel, state, _EVERY)
    rows = (move.rows + move.level).exp().to(P)
    return P * rows.unsqueeze(-1) * move.columns.exp().to(P).unsqueeze(-2)


def _log_kernel(problem: Problem, epsilon: float) -> Tensor:
    """(B, n, m); where the mass is fixed, so that the largest is 0, which changes no plan."""
    C = problem.cost.unsqueeze(0) if problem.cost.dim() == 2 else problem.cost.flatten(0, -3)
    lowest = 0.0 if problem.mass is None else C.detach().amin((-2, -1), keepdim=True)
    return (C - lowest).mul_(-1.0 / epsilon)


def _kernel(rule: Rule, problem: Problem, Z: Tensor, logs: Logs | None, graph: bool = False) -> _Kernel:
    """The kernel that holds some scalings; Z (B, n, m) is used up."""
    if logs is not None:
        Z = Z.add_((logs[0] + logs[2]).mT.to(Z)).add_(logs[1].to(Z))
    K = Z.clamp_(min=_LOWEST).exp_()
    K = torch.nn.functional.threshold(K, _LEAST, 0.0, inplace=not K.requires_grad)

    def side(weights: Tensor, axis: int) -> Side:
        w = weights.expand(*problem.batch, -1).reshape(len(K), 1, -1)
        anchor = 1.0 if logs is None else vector(rule.anchor(logs[axis]).to(K))
        return Side(vector(w), anchor, mass)

    vector = (lambda x: x) if graph else _vector
    mass = None if problem.mass is None else vector(problem.mass.expand(problem.batch).reshape(-1, 1, 1))
    return _Kernel(K, logs, side(problem.rows, 0), side(problem.columns, 1))


def _sweep(rule: Rule, kernel: _Kernel, row_sums: Array, level: Array) -> _State:
    """One scaling of rows and columns, from sums (B, 1, n) under the scaling of the columns."""
    a, level = rule.step(kernel.rows, row_sums, level)
    column_sums = _times(a, kernel.values)
    b, level = rule.step(kernel.columns, column_sums, level)
    return _State(a, b, level, _times(b, kernel.values.mT), column_sums)


def _error(rule: Rule, kernel: _Kernel, state: _State) -> Array:
    """(B, 1) by how much the plan misses the targets of what is held, and the mass, relative to its mass."""
    missed: Array = 0.0
    row_sums, column_sums = state.sums
    for side, sums, scaling in (
        (kernel.rows, row_sums, state.rows),
        (kernel.columns, column_sums, state.columns),
    ):
        held, target = rule.goal(side, sums, scaling)
        missed = missed + (held * abs(sums - target)).sum(-1)
    mass = row_sums.sum(-1)
    if rule.keeps_mass:
        missed = missed + abs(mass - kernel.rows.mass[..., 0])
    return missed / mass


def _newton(rule: Rule, kernel: _Kernel, state: _State, which: Tensor | slice) -> tuple[Tensor, Move]:
    """Plan (b, n, m) of some problems, by their numbers, and a Newton step from it."""

    def some(x: Array) -> Array:
        return x if isinstance(x, float) else _tensor(x)[which]

    a, b = some(state.rows), some(state.columns)
    P = kernel.values[which] * (a * some(state.level)).mT * b

    def goal(side: Side, sums: Tensor, scaling: Tensor) -> Goal:
        part = Side(some(side.weights), some(side.anchor), None)
        held, target = rule.goal(part, sums.detach().unsqueeze(1), scaling)
        room = torch.as_tensor(rule.most(part)).to(scaling).log() - scaling.clamp(min=SMALLEST).log()
        return Goal(held.squeeze(1), target.squeeze(1), room.expand(scaling.shape).squeeze(1), rule.slack)

    rows, columns = goal(kernel.rows, P.sum(-1), a), goal(kernel.columns, P.sum(-2), b)
    mass = some(kernel.rows.mass).squeeze(1) if rule.keeps_mass else None
    if P.shape[1] < P.shape[2]:  # the shorter side is solved for
        move = newton_move(P.mT, columns, rows, mass)
        return P, Move(move.columns, move.rows, move.level)
    return P, newton_move(P, rows, columns, mass)


def _patience(kernel: _Kernel, most: int, sweeper: Sweeper | None) -> float:
    """Iterations before the first Newton step, of ``most`` in all."""
    if min(kernel.values.shape[1:]) > _LARGEST_SIDE:
        return math.inf
    return _PATIENCE if sweeper is None else min(max(_PATIENCE, most // 4), PATIENCE)


def _leap(rule: Rule, kernel: _Kernel, state: _State, error: Array, tolerance: float) -> tuple[_State, Array]:
    """State and error after a Newton step of unsolved problems, or a part of it, where that is better."""
    n, m = kernel.values.shape[1:]
    unsolved, most = _tensor(error[:, 0] > tolerance), max(1, _CELLS // (n * m))
    which = _EVERY if len(unsolved) <= most and unsolved.all() else unsolved.nonzero().flatten()[:most]
    _, move = _newton(rule, kernel, state, which)
    farthest = torch.cat([move.columns, move.level], -1).abs().amax(-1, keepdim=True)
    part = _LEAP / farthest.clamp(min=_LEAP)
    best, least = state, error
    for _ in range(_TRIALS):
        b, level = _tensor(state.columns).clone(), _tensor(state.level).clone()
        b[which] *= (part * move.columns).exp().unsqueeze(1).to(b)
        level[which] *= (part * move.level).exp().unsqueeze(1).to(b)
        columns = lesser(_vector(b), rule.most(kernel.columns))
        moved = _sweep(rule, kernel, _times(columns, kernel.values.mT), _vector(level))
        missed = _error(rule, kernel, moved)
        better = (missed < least)[..., None]
        if better.all():
            return moved, missed
        best = _State(*(_choose(better, x, y) for x, y in zip(moved, best, strict=True)))
        least = _choose(better[..., 0], missed, least)
        if (least < error)[which].all():
            break
        part = part / 4
    return best, least


def _times(x: Array, K: Tensor) -> Array:
    """X K: (B, 1, n), (B, n, m) -> (B, 1, m)."""
    if isinstance(x, np.ndarray):
        return torch.bmm(torch.from_numpy(x), K).numpy()
    return torch.bmm(x, K)


def _vector(x: Tensor) -> Array:
    return x.detach().numpy() if x.device.type == "cpu" else x.detach()


def _tensor(x: Array) -> Tensor:
    return torch.from_numpy(x) if isinstance(x, np.ndarray) else x


def _wide(x: Tensor) -> Tensor:
    """In float64, where the device has it: rounding of large logarithms would show in the sums."""
    return x if x.device.type == "mps" else x.double()


def _choose(first: Array, x: Array, y: Array) -> Array:
    return np.where(first, x, y) if isinstance(x, np.ndarray) else torch.where(first, x, y)


def _largest(x: Array) -> Array:
    return x.max(-1, keepdims=True) if isinstance(x, np.ndarray) else x.amax(-1, keepdim=True)
