"""The iteration that all entropic solvers share: rows and columns scaled in turn, in logarithms, batched."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from robustcmr.types import TransportPlan

ABSENT = -1e30  # logarithm of no mass: exp() gives exactly 0, and unlike -inf it keeps gradients finite
_ROUND = 10  # iterations between two looks at the error
_WARM = 2  # iterations at each epsilon on the way down to the one asked for
_COOLING = 10.0  # factor between two values of epsilon on the way down to the one asked for
_REACH = 40.0  # farthest a scaling may go from the kernel's, so that exp() stays in the range of float32

_STRAY = 10.0  # how far scalings may stay from the kernel's before it is worked out anew

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Side:
    """What the rows, or the columns, of a problem are asked for.

    Attributes:
        weights: (..., n) >= 0.
        present: (..., n) bool, True where the weight is positive and some cell may carry mass.
    """

    weights: Tensor
    present: Tensor

    @cached_property
    def log_weights(self) -> Tensor:
        """(..., n) logarithms, 0 where absent."""
        return torch.where(self.present, self.weights, 1.0).log()


class Rule(Protocol):
    """How one kind of problem scales a side."""

    def step(self, side: Side, log_sums: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        """Scale one side.

        Args:
            side: the rows or the columns.
            log_sums: (..., n) logarithms of the sums under the other side's scaling.
            epsilon: smoothing.

        Returns:
            Logarithms of the scaling (..., n) and of a factor common to all cells (..., 1).
        """
        ...

    def miss(self, side: Side, sums: Tensor, scaling: Tensor, epsilon: float) -> Tensor:
        """By how much sums (..., n) miss what is asked for, given the log scaling (..., n): (..., n) >= 0."""
        ...


@dataclass(frozen=True)
class State:
    """Logarithms of the scalings: the plan is exp(kernel + rows + columns + common).

    Attributes:
        rows: (..., n).
        columns: (..., m).
        common: (..., 1).
    """

    rows: Tensor
    columns: Tensor
    common: Tensor

    def log_plan(self, Z: Tensor) -> Tensor:
        """(..., n, m) logarithm of the plan, for the log kernel (..., n, m)."""
        return Z + (self.rows + self.common).to(Z).unsqueeze(-1) + self.columns.to(Z).unsqueeze(-2)


def solve(
    rule: Rule,
    cost: Tensor,
    rows: Side,
    columns: Side,
    allowed: Tensor,
    *,
    epsilon: float,
    log_reference: Tensor | None = None,
    tolerance: float,
    max_iterations: int,
    differentiable: bool,
) -> TransportPlan:
    """Run the iteration to its tolerance; gradients, where wanted, by repeating its last stretch.

    Args:
        rule: the kind of problem.
        cost: (..., n, m), zero where not allowed.
        rows: what rows are asked for.
        columns: what columns are asked for.
        allowed: (..., n, m) bool, cells that may carry mass.
        epsilon: smoothing > 0, in units of cost.
        log_reference: (..., n, m) log of the measure that the entropy is relative to; None for ones.
        tolerance: marginal error at which a problem counts as solved.
        max_iterations: most scalings of rows and columns, those on the way down to epsilon included.
        differentiable: whether the plan carries gradients.

    Returns:
        The plan; the iteration stops once all problems of the batch are solved.

    Raises:
        ValueError: if epsilon, the tolerance or the number of iterations is out of range.
    """
    if not (epsilon > 0 and tolerance > 0 and max_iterations >= 1):
        raise ValueError(
            "epsilon and tolerance must be positive and max_iterations at least 1, "
            f"got {epsilon}, {tolerance} and {max_iterations}"
        )
    with torch.no_grad():
        state, base, iterations, stretch = _descend(
            rule,
            cost,
            _widened(rows),
            _widened(columns),
            allowed,
            log_reference,
            epsilon,
            tolerance,
            max_iterations,
        )
    rows, columns = _widened(rows), _widened(columns)  # anew: their logarithms are kept, here with a graph
    with torch.set_grad_enabled(differentiable and torch.is_grad_enabled()):
        K = base.log_plan(_log_kernel(cost, allowed, log_reference, epsilon)).exp()
        if torch.is_grad_enabled():
            for _ in range(stretch):
                state = _kernel_iteration(rule, K, base, rows, columns, state, epsilon)
        plan = _plan(K, base, state)
    error = _error(rule, plan.detach(), rows, columns, state, epsilon)
    converged = error <= tolerance
    if not bool(converged.all()):
        _log.warning(
            "%d of %d transport problems did not converge in %d iterations: error %.2g, asked for %.2g",
            int((~converged).sum()),
            converged.numel(),
            iterations,
            float(error.max()),
            tolerance,
        )
    return TransportPlan(plan, plan.sum(-1), plan.sum(-2), plan.sum((-2, -1)), iterations, error, converged)


def _descend(
    rule: Rule,
    cost: Tensor,
    rows: Side,
    columns: Side,
    allowed: Tensor,
    log_reference: Tensor | None,
    epsilon: float,
    tolerance: float,
    max_iterations: int,
) -> tuple[State, State, int, int]:
    """Scalings for epsilon, those of the kernel in use, all iterations done, and those done at epsilon."""
    state = State(
        torch.zeros_like(rows.weights), torch.zeros_like(columns.weights), rows.weights.new_zeros(())
    )
    base = state
    done, start, previous = 0, 0, epsilon
    for current in _epsilons(cost, epsilon):
        last = current == epsilon
        if not last and done + _WARM >= max_iterations:
            continue
        if done:  # potentials in units of cost stay; the logarithms are those over epsilon
            grow = previous / current
            state = State(state.rows * grow, state.columns * grow, state.common * grow)
        previous, start = current, done
        Z = _log_kernel(cost, allowed, log_reference, current)
        K: Tensor | None = None  # None: the next iteration must work in logarithms
        while done < max_iterations:
            count = min(_ROUND if last else _WARM, max_iterations - done)
            for _ in range(count):
                if K is None:
                    base = state = _log_iteration(rule, Z, rows, columns, state, current)
                    K = base.log_plan(Z).exp()
                else:
                    state = _kernel_iteration(rule, K, base, rows, columns, state, current)
            done += count
            if not last or K is None:
                break
            error = _error(rule, _plan(K, base, state), rows, columns, state, current).max()
            worst, moved = torch.stack([error, _distance(state, base)]).tolist()
            if worst <= tolerance:
                break
            if not moved < _STRAY:
                K = None
    return state, base, done, done - start


def _epsilons(cost: Tensor, epsilon: float) -> list[float]:
    """Falling values that end with epsilon; costs far above epsilon are approached step by step."""
    spread = float(cost.max() - cost.min())
    steps = max(0, math.ceil(math.log(spread / epsilon, _COOLING))) if spread > 8 * epsilon else 0
    values = [epsilon]
    for _ in range(steps):
        values.append(values[-1] * _COOLING)
    return values[::-1]


def _log_kernel(cost: Tensor, allowed: Tensor, log_reference: Tensor | None, epsilon: float) -> Tensor:
    Z = -cost / epsilon
    if log_reference is not None:
        Z = Z + log_reference
    return torch.where(allowed, Z, ABSENT)


def _widened(side: Side) -> Side:
    """Vectors in float64, where the device has it: rounding of large logarithms would show in the sums."""
    narrow = side.weights.device.type == "mps"
    return Side(side.weights if narrow else side.weights.double(), side.present)


def _log_iteration(rule: Rule, Z: Tensor, rows: Side, columns: Side, state: State, epsilon: float) -> State:
    """One scaling of rows and columns, in logarithms throughout."""
    sums = torch.logsumexp(Z + state.columns.to(Z).unsqueeze(-2), -1).to(rows.weights)
    u, _ = rule.step(rows, sums, epsilon)
    sums = torch.logsumexp(Z + u.to(Z).unsqueeze(-1), -2).to(columns.weights)
    v, common = rule.step(columns, sums, epsilon)
    return State(u, v, common)


def _kernel_iteration(
    rule: Rule, K: Tensor, base: State, rows: Side, columns: Side, state: State, epsilon: float
) -> State:
    """The same by two matrix products with K, the plan of ``base``, which holds no number out of range."""
    smallest = torch.finfo(K.dtype).tiny
    change = (state.columns - base.columns).exp().to(K).unsqueeze(-1)
    sums = (K @ change).squeeze(-1).clamp(min=smallest).to(rows.weights).log()
    u, _ = rule.step(rows, sums - base.rows - base.common, epsilon)
    u = base.rows + (u - base.rows).clamp(-_REACH, _REACH)
    change = (u - base.rows).exp().to(K).unsqueeze(-2)
    sums = (change @ K).squeeze(-2).clamp(min=smallest).to(columns.weights).log()
    v, common = rule.step(columns, sums - base.columns - base.common, epsilon)
    v = base.columns + (v - base.columns).clamp(-_REACH, _REACH)
    return State(u, v, common)


def _plan(K: Tensor, base: State, state: State) -> Tensor:
    """(..., n, m) plan of a state, from that of the kernel's; the small change keeps its digits."""
    u = (state.rows - base.rows + state.common - base.common).exp().to(K)
    v = (state.columns - base.columns).exp().to(K)
    return K * u.unsqueeze(-1) * v.unsqueeze(-2)


def _distance(state: State, base: State) -> Tensor:
    """Scalar, the farthest that a scaling is from the kernel's."""
    parts = (state.rows - base.rows, state.columns - base.columns, state.common - base.common)
    return torch.stack([part.abs().max() for part in parts]).max()


def _error(rule: Rule, plan: Tensor, rows: Side, columns: Side, state: State, epsilon: float) -> Tensor:
    """(...) marginal error relative to the mass."""
    missed = rule.miss(rows, plan.sum(-1).to(rows.weights), state.rows.detach(), epsilon).sum(-1)
    missed = missed + rule.miss(columns, plan.sum(-2).to(rows.weights), state.columns.detach(), epsilon).sum(
        -1
    )
    mass = plan.sum((-2, -1))
    return missed.to(plan) / mass.clamp(min=torch.finfo(plan.dtype).tiny)
