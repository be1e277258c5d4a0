"""The iteration for partial plans on a graph: rows and columns scaled in turn, each with the total mass.

The kernel is worked out from logarithms, and anew as soon as the scalings stray far from what it holds, so
nothing leaves the range of float32 however small epsilon is. Where the iteration crawls, Newton steps help it
on; where epsilon is small beside the costs, larger ones are solved roughly before.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robustcmr.transport.rules import LARGEST, SMALLEST
from robustcmr.transport.sparse_graph import Graph, Product
from robustcmr.transport.sparse_newton import Held, newton_move

_LOWEST = -64.0  # logarithm of what a kernel leaves out
_STRAYED = 5e8  # exp(20); what a kernel leaves out weighs nothing at such factors
_UNSEEN = 10  # most iterations between two looks at the error
_STEPS = 3  # Newton steps on the common factor for each scaling of a side
_FLAT = 1e-6  # share of the mass added to their slope: it vanishes where all is full
_PATIENCE = 20  # iterations before the first Newton step
_INNER = 100  # most inner iterations of one, each of which costs as much as one of these
_TRIALS = 4  # of parts of a Newton step, each a quarter of the one before
_LEAP = 20.0  # most that a Newton step may change a logarithm
_EASY, _COOLING = (
    50.0,
    4.0,
)  # costs of at most so many epsilons apart are solved as they are, others in stages
_ROUGH, _ROUGHLY = 1e-2, 200  # error and iterations of these


class Solved(NamedTuple):
    """What the iteration found.

    Attributes:
        log_plan: (E',) float64, logarithm of the mass along each edge of the graph.
        row_sums: (n,) of the plan.
        column_sums: (m,) of the plan.
        iterations: done in all.
        error: share of the mass that is out of place.
    """

    log_plan: Tensor
    row_sums: Tensor
    column_sums: Tensor
    iterations: int
    error: float


class _Side(NamedTuple):
    """Weights of the rows or columns, (n,), and the largest factor on top of what the kernel holds, (n,)."""

    weights: Tensor
    most: Tensor


class _Logs(NamedTuple):
    """Logarithms of the scalings that a kernel holds: (n,), (m,), scalar; float64."""

    rows: Tensor
    columns: Tensor
    level: Tensor


class _State(NamedTuple):
    """Factors on top of the kernel, and its sums under the factor of the other side, by row and column."""

    rows: Tensor
    columns: Tensor
    level: Tensor
    row_sums: Tensor
    column_sums: Tensor


def solve_sparse(
    graph: Graph, Z: Tensor, r: Tensor, c: Tensor, mass: float, tolerance: float, most: int
) -> Solved:
    """Scale a kernel to a partial plan.

    Args:
        graph: the edges.
        Z: (E',) float64, -cost / epsilon of each, of which the largest is 0.
        r: (n,) >= 0, weights of the rows.
        c: (m,) >= 0, weights of the columns.
        mass: to be moved, > 0.
        tolerance: error at which to stop.
        most: iterations at most, >= 1.
    """
    logs, before = _first_logs(graph, Z, r, c, mass, most)
    logs, state, done, error = _iterate(graph, Z, r, c, mass, tolerance, most - before, logs)
    log_plan = _log_kernel(graph, Z, _held(logs, state))
    return Solved(log_plan, *_plan_sums(state), before + done, error)


def _first_logs(
    graph: Graph, Z: Tensor, r: Tensor, c: Tensor, mass: float, most: int
) -> tuple[_Logs | None, int]:
    """Scalings to start from, found roughly with more smoothing where there is little; iterations done."""
    logs, done = None, 0
    stages = math.ceil(math.log(max(1.0, float(-Z.amin()) / _EASY), _COOLING))
    for stage in range(stages, 0, -1):
        if done >= most // 2:
            break
        warmth = _COOLING**stage
        some = min(_ROUGHLY, most // 2 - done)
        held, state, count, _ = _iterate(graph, Z / warmth, r, c, mass, _ROUGH, max(1, some), logs)
        found = _held(held, state)
        logs = _Logs(*(x * _COOLING for x in found))  # potentials stay what they are
        done += count
    return logs, done


def _iterate(
    graph: Graph,
    Z: Tensor,
    r: Tensor,
    c: Tensor,
    mass: float,
    tolerance: float,
    most: int,
    logs: _Logs | None = None,
) -> tuple[_Logs, _State, int, float]:
    """What the last kernel holds, the factors on top of it, iterations done and the error left."""
    done, started = 0, logs is not None
    if logs is None:
        logs = _Logs(Z.new_zeros(len(r)), Z.new_zeros(len(c)), Z.new_zeros(()))
    while True:
        kernel = Product(graph, _values(_log_kernel(graph, Z, logs)).to(r.dtype))
        rows = _Side(r, _room(logs.rows, r))
        columns = _Side(c, _room(logs.columns, c))
        sums = kernel.rows(torch.ones_like(c))
        level = torch.ones_like(sums[0]) if started else mass / sums.sum()
        started, since, strayed, patience = True, 0, False, _PATIENCE
        while not strayed:
            count = min(max(1, since // 2), _UNSEEN, most - done)
            for _ in range(count):
                state = _sweep(kernel, rows, columns, sums, level, mass)
                sums, level = state.row_sums, state.level
            done, since = done + count, since + count
            error = _error(rows, columns, state, mass)
            if since >= patience and done < most and error > tolerance:
                before, inner = error, min(_INNER, most - done)
                state, error, cost = _leap(kernel, rows, columns, state, error, mass, inner)
                sums, level = state.row_sums, state.level
                done, since = done + cost, 0
                patience = 2 if error < 0.5 * before else 2 * patience
            strayed = float(state.rows.amax() * state.columns.amax() * level) > _STRAYED
            if done >= most or (error <= tolerance and not strayed):
                return logs, state, done, error
        logs = _held(logs, state)


def _sweep(
    kernel: Product, rows: _Side, columns: _Side, row_sums: Tensor, level: Tensor, mass: float
) -> _State:
    """One scaling of rows and columns, from sums (n,) under the scaling of the columns."""
    a, level = _scale(rows, row_sums, level, mass)
    column_sums = kernel.columns(a)
    b, level = _scale(columns, column_sums, level, mass)
    return _State(a, b, level, kernel.rows(b), column_sums)


def _leap(
    kernel: Product, rows: _Side, columns: _Side, state: _State, error: float, mass: float, most: int
) -> tuple[_State, float, int]:
    """State and error after a Newton step, or a part of it, where that is better, and iterations done."""
    row_sums, column_sums = _plan_sums(state)
    move, level_move, done = newton_move(
        kernel,
        state.level,
        Held(state.rows, row_sums, _is_held(rows, row_sums, state.rows), rows.weights),
        Held(state.columns, column_sums, _is_held(columns, column_sums, state.columns), columns.weights),
        mass,
        most,
    )
    farthest = max(float(move.abs().amax()), float(level_move.abs()))
    part = min(1.0, _LEAP / farthest) if farthest > 0 else 1.0
    for _ in range(_TRIALS):
        b = torch.minimum(state.columns * (part * move).exp(), columns.most)
        level = state.level * (part * level_move).exp()
        moved = _sweep(kernel, rows, columns, kernel.rows(b), level, mass)
        missed = _error(rows, columns, moved, mass)
        done += 1
        if missed < error:
            return moved, missed, done
        part = part / 4
    return state, error, done


def _log_kernel(graph: Graph, Z: Tensor, logs: _Logs) -> Tensor:
    """(E',) float64 of the edges kept."""
    return Z + (logs.rows + logs.level)[graph.row_of] + logs.columns[graph.column_of]


def _values(log_kernel: Tensor) -> Tensor:
    return torch.where(log_kernel > _LOWEST, log_kernel.clamp(min=_LOWEST).exp(), 0.0)


def _room(logs: Tensor, like: Tensor) -> Tensor:
    """Scalings are at most 1, so 1 over what the kernel holds is the most that is left."""
    return logs.neg().exp().clamp(max=LARGEST).to(like.dtype)


def _scale(side: _Side, sums: Tensor, level: Tensor, mass: float) -> tuple[Tensor, Tensor]:
    """Factors of one side, (n,), and the common factor t with sum over i of min(weight_i, t sum_i) the mass.

    That sum is concave in t, so Newton steps never go above the t looked for.
    """
    sums_at_most = sums * side.most
    for _ in range(_STEPS):
        sent = level * sums_at_most
        short = mass - torch.minimum(sent, side.weights).sum()
        slope = torch.where(sent < side.weights, sent, 0.0).sum() + _FLAT * mass
        level = level * (short / slope + 1.0).clamp(min=0.1)
    level = level.clamp(max=LARGEST)
    return torch.minimum(side.weights / (level * sums + SMALLEST), side.most), level


def _plan_sums(state: _State) -> tuple[Tensor, Tensor]:
    """Sums of the rows (n,) and columns (m,) of the plan."""
    return state.level * state.rows * state.row_sums, state.level * state.columns * state.column_sums


def _is_held(side: _Side, sums: Tensor, factors: Tensor) -> Tensor:
    """(n,) bool, rows or columns that the scaling holds to their weights, or should."""
    return (factors < side.most) | (sums > side.weights)


def _error(rows: _Side, columns: _Side, state: _State, mass: float) -> float:
    """By how much sums that are held to their weights miss them, and the mass, relative to the mass."""
    row_sums, column_sums = _plan_sums(state)
    missed = (row_sums.sum() - mass).abs()
    for side, sums, factors in ((rows, row_sums, state.rows), (columns, column_sums, state.columns)):
        held = _is_held(side, sums, factors)
        missed = missed + torch.where(held, (sums - side.weights).abs(), 0.0).sum()
    return float(missed / mass)


def _held(logs: _Logs, state: _State) -> _Logs:
    """All scalings so far; those of nothing are left as they are."""

    def joined(log: Tensor, factor: Tensor) -> Tensor:
        return log + torch.where(factor > 0, factor, 1.0).double().log()

    return _Logs(
        joined(logs.rows, state.rows),
        joined(logs.columns, state.columns),
        joined(logs.level, state.level),
    )
