"""Dense entropic problems: the kernel as one tensor (B, n, m), Newton steps, and gradients of the plan."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcmr.transport.newton import Goal, Move, newton_move
from robustcmr.transport.problems import Problem, overloaded, refuse_blurred, refuse_infeasible
from robustcmr.transport.rules import SMALLEST, Array, Logs, Rule, Side, choose, tensor, vector
from robustcmr.transport.scaling import LOWEST, State, Step, Sweeper, iterate
from robustcmr.types import TransportPlan

_LEAST = 1.01 * math.exp(LOWEST)
_SUSPICIOUS = 20  # iterations after which the mask is tested
_PATIENCE = 4  # iterations before the first Newton step, which costs as much as some twenty
_SWEPT_PATIENCE = 64  # the same where many iterations take one launch
_LARGEST_SIDE = 4096  # of problems that take Newton steps, which cost its cube
_CELLS = 2**24  # most that take one at once, because of memory
_EVERY = slice(None)

_log = logging.getLogger(__name__)


class _Kernel:
    """The kernel of a batch of problems; see ``scaling.Kernel``.

    It holds the scalings ``logs``, or with ``start`` those of the rule; with ``graph`` it carries gradients.
    """

    def __init__(
        self,
        rule: Rule,
        problem: Problem,
        epsilon: float,
        logs: Logs | None,
        *,
        start: bool = False,
        graph: bool = False,
        patience: float = 0,
    ) -> None:
        self.rule, self.problem, self.epsilon, self.patience = rule, problem, epsilon, patience
        Z = _relative(problem).mul_(-1.0 / epsilon)
        self.logs = logs = rule.start(Z) if start else logs
        if logs is not None:
            Z = Z.add_((logs[0] + logs[2]).mT.to(Z)).add_(logs[1].to(Z))
        K = Z.clamp_(min=LOWEST).exp_()
        self.values = torch.nn.functional.threshold(K, _LEAST, 0.0, inplace=not K.requires_grad)
        plain = (lambda x: x) if graph else vector
        mass = None if problem.mass is None else plain(problem.mass.expand(problem.batch).reshape(-1, 1, 1))

        def side(weights: Tensor, axis: int) -> Side:
            w = weights.expand(*problem.batch, -1).reshape(len(K), 1, -1)
            return Side(plain(w), 1.0 if logs is None else vector(rule.anchor(logs[axis]).to(K)), mass)

        self.sides = side(problem.rows, 0), side(problem.columns, 1)

    def row_sums(self, b: Array | None) -> Array:
        return vector(self.values.sum(-1, keepdim=True).mT) if b is None else _times(b, self.values.mT)

    def column_sums(self, a: Array) -> Array:
        return _times(a, self.values)

    def newton(self, state: State, unsolved: Tensor, most: int) -> Step:  # noqa: ARG002
        n, m = self.values.shape[1:]
        portion = max(1, _CELLS // (n * m))  # of the problems, as memory allows
        every = len(unsolved) <= portion and bool(unsolved.all())
        which = _EVERY if every else unsolved.nonzero().flatten()[:portion]
        move = self.plan_and_move(state, which)[1]
        return which, move.columns, move.level, 0

    def plan_and_move(self, state: State, which: Tensor | slice) -> tuple[Tensor, Move]:
        """Return the plan (b, n, m) of some problems, by their numbers, and a Newton step from it."""

        def some(x: Array) -> Array:
            return x if isinstance(x, float) else tensor(x)[which]

        a, b = some(state.rows), some(state.columns)
        P = self.values[which] * (a * some(state.level)).mT * b

        def goal(side: Side, sums: Tensor, scaling: Tensor) -> Goal:
            part = Side(some(side.weights), some(side.anchor), None)
            has_target, target = self.rule.goal(part, sums.detach().unsqueeze(1), scaling)
            room = torch.as_tensor(self.rule.most(part)).to(scaling).log() - scaling.clamp(min=SMALLEST).log()
            held, target, room = (x.squeeze(1) for x in (has_target, target, room.expand(scaling.shape)))
            return Goal(held, target, room, self.rule.slack)

        rows, columns = goal(self.sides[0], P.sum(-1), a), goal(self.sides[1], P.sum(-2), b)
        mass = some(self.sides[0].mass).squeeze(1) if self.rule.keeps_mass else None
        if P.shape[1] < P.shape[2]:  # the equations are those of the shorter side
            move = newton_move(P.mT, columns, rows, mass)
            return P, Move(move.columns, move.rows, move.level)
        return P, newton_move(P, rows, columns, mass)

    def wait(self, before: Array, after: Array, patience: float) -> float:
        if (after < 0.5 * before).any():
            return 1
        return patience if (after < before).any() else 2 * patience

    def renewed(self, logs: Logs) -> _Kernel:
        return _Kernel(self.rule, self.problem, self.epsilon, logs, patience=self.patience)


def solve(
    rule: Rule,
    problem: Problem,
    epsilon: float,
    tolerance: float,
    most: int,
    differentiable: bool,
    sweeper: Sweeper | None = None,
) -> TransportPlan:
    """Return the plan after at most so many iterations, of which a sweeper does many in one launch.

    Raises:
        InfeasibleTransportError: it does not converge because the mass cannot be carried.
    """
    untested = problem.mass is not None
    patience: float = _PATIENCE if sweeper is None else min(max(_PATIENCE, most // 4), _SWEPT_PATIENCE)
    if min(problem.cost.shape[-2:]) > _LARGEST_SIDE:
        patience = math.inf

    def suspect(done: int) -> None:
        nonlocal untested
        if untested and done >= _SUSPICIOUS:
            untested = False
            refuse_infeasible(problem, overloaded(problem).view(problem.batch))

    with torch.no_grad(), np.errstate(all="ignore"):
        kernel: Any = _Kernel(rule, problem, epsilon, None, start=True, patience=patience)
        kernel, state, iterations, error = iterate(kernel, tolerance, most, sweeper=sweeper, suspect=suspect)
    if kernel.logs is not None:
        known = rule.in_range(kernel.logs[0]) & rule.in_range(kernel.logs[1])
        error = choose(vector(known[:, None]), error, math.inf)
    converged = error <= tolerance
    if not converged.all():
        message = "%d of %d transport problems did not converge in %d iterations: error %.2g, tolerance %.2g"
        unsolved, most_off = int((~converged).sum()), float(error.max())
        _log.warning(message, unsolved, len(converged), iterations, most_off, tolerance)
        if problem.mass is not None:
            refuse_infeasible(problem, tensor(~converged).view(problem.batch))
    if differentiable and torch.is_grad_enabled():
        # A Newton step from a solution has the gradient of the solution.
        kernel = _Kernel(rule, problem, epsilon, kernel.logs, graph=True)
        P, move = kernel.plan_and_move(state, _EVERY)
        rows = (move.rows + move.level).exp().to(P)
        plan = P * rows.unsqueeze(-1) * move.columns.exp().to(P).unsqueeze(-2)
        row_sums, column_sums = plan.sum(-1), plan.sum(-2)
    else:
        plan = kernel.values.mul_(tensor(state.rows * state.level).mT).mul_(tensor(state.columns))
        row_sums, column_sums = (tensor(x) for x in state.sums)
    batch, (n, m) = problem.batch, plan.shape[1:]
    if problem.may_blur(epsilon):
        refuse_blurred(_relative(problem), plan.detach(), epsilon)
    row_sums = row_sums.reshape(*batch, n)
    return TransportPlan(
        plan.view(*batch, n, m),
        row_sums,
        column_sums.reshape(*batch, m),
        row_sums.sum(-1),
        iterations,
        tensor(error).reshape(batch),
        tensor(converged).reshape(batch),
    )


def _relative(problem: Problem) -> Tensor:
    """Return new costs (B, n, m); where the mass is fixed, above the least, as a constant changes no plan."""
    C = problem.cost.unsqueeze(0) if problem.cost.dim() == 2 else problem.cost.flatten(0, -3)
    return C - (0.0 if problem.mass is None else C.detach().amin((-2, -1), keepdim=True))


def _times(x: Array, K: Tensor) -> Array:
    """Return x K: (B, 1, n), (B, n, m) -> (B, 1, m)."""
    if isinstance(x, np.ndarray):
        return torch.bmm(torch.from_numpy(x), K).numpy()
    return torch.bmm(x, K)
