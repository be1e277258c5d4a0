"""Exact transport without entropy, solved by POT on the CPU: a reference, and a solver for small problems.

A plan of fixed mass is a balanced plan with one dummy row and one dummy column, which take the rest of the
weights at cost 0 and exchange nothing with each other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.errors import InfeasibleTransportError
from robustcmr.transport.problems import balance, feasible_mass, prepare, refuse_infeasible
from robustcmr.types import TransportPlan

_PIVOTS = 10_000_000
_OPTIMAL = 1  # code of POT
_CLOSE = 2e-5  # marginal error that rounding may leave
_WIDE = 1e9  # ratio of costs above which the small ones get lost in float64 beside the large ones
_EPS = torch.finfo(torch.float64).eps
_PRECISE = 1e-9  # relative error of the total that is refused


@takes_arrays()
def exact_plan(
    cost: Tensor,
    row_weights: Tensor | None = None,
    column_weights: Tensor | None = None,
    *,
    mass: float | Tensor | None = None,
    allowed: Tensor | None = None,
) -> TransportPlan:
    """Find plans P >= 0 of least <cost, P>, balanced or of a fixed mass; one by one, in float64 on the CPU.

    Args:
        cost: (..., n, m) below 5e29 in size.
        row_weights: (..., n) >= 0, mass of each row, or the most it may send; 0 for padding. None for an even
            share of the columns' sum, or of 1.
        column_weights: (..., m) >= 0, the same for columns.
        mass: None for a balanced plan, else the mass to move, > 0; a number, or (...) one for each problem.
        allowed: (..., n, m) bool, True where a cell may carry mass; None for everywhere.

    Returns:
        The plan, on the device and in the type of the cost, at least float32, without gradients. Costs may
        differ by any factor: those that the plan can avoid do not matter.

    Raises:
        ValueError: shapes or numbers do not fit.
        InfeasibleTransportError: a side is empty, weights and mask cannot carry the mass, or the plan must
            use costs so large for so little mass that the total is not right to 1e-9.

    References:
        Chapel, Alaya and Gasso, "Partial Optimal Transport with Applications on Positive-Unlabeled Learning",
        2020, for the dummy points; POT, https://pythonot.github.io.

    Example:
        >>> import torch
        >>> from robustcmr.transport import exact_plan
        >>> cost = torch.tensor([[0.0, 1.0], [1.0, 3.0]])
        >>> exact_plan(cost, torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5]), mass=0.75).plan
        tensor([[0.2500, 0.2500],
                [0.2500, 0.0000]])
        >>> exact_plan([[0.0, 1.0], [1.0, 3.0]], mass=0.5).plan
        tensor([[0.5000, 0.0000],
                [0.0000, 0.0000]], dtype=torch.float64)
    """
    rows, columns = (None if x is None else x.detach() for x in (row_weights, column_weights))
    problem = prepare(cost.detach(), rows, columns, allowed, mass)
    if mass is None:
        problem = balance(problem)
    cells, r, c, moved = (x.cpu() for x in problem.one_by_one())
    C = problem.cost.reshape(cells.shape).cpu().double()
    plans = [_solve(*parts) for parts in zip(C, r.double(), c.double(), cells, moved.tolist(), strict=True)]
    plan = torch.stack(plans).view(problem.cost.shape).to(problem.cost)
    rows, columns, total = plan.sum(-1), plan.sum(-2), plan.sum((-2, -1))
    over_r, over_c = rows - problem.rows, columns - problem.columns
    goal = moved.to(plan).view(problem.batch)
    if mass is None:
        missed = over_r.abs().sum(-1) + over_c.abs().sum(-1)
    else:
        missed = over_r.clamp(min=0.0).sum(-1) + over_c.clamp(min=0.0).sum(-1) + (total - goal).abs()
    error = missed / goal
    converged = error <= _CLOSE
    if not bool(converged.all()):
        refuse_infeasible(problem, ~converged)
    return TransportPlan(plan, rows, columns, total, 0, error, converged)


def _solve(given: Tensor, r: Tensor, c: Tensor, allowed: Tensor, mass: float) -> Tensor:
    """Return the (n, m) plan of one problem; mass that must use forbidden cells is left out."""
    import ot

    n, m = given.shape
    mass = min(mass, float(r.sum()), float(c.sum()))
    scale = 2.0 ** math.frexp(mass)[1]  # POT refuses large ones for the rounding of their sums
    mass, r, c = mass / scale, r.clamp(max=mass) / scale, c.clamp(max=mass) / scale
    C = given
    if bool(allowed.any()):
        C = C - C[allowed].min()
        allowed = _needed(C, r, c, allowed, mass)
        C = C / C[allowed].max().clamp(min=torch.finfo(C.dtype).tiny)
    # Allowed costs are now in 0..1. A detour around a forbidden cell takes less than n + m cells.
    extended = torch.zeros(n + 1, m + 1, dtype=C.dtype)
    extended[:-1, :-1] = torch.where(allowed, C, float(n + m + 1))
    extended[-1, -1] = 2.0 * (n + m + 1)
    rows = torch.cat([r, (c.sum() - mass).clamp(min=0.0).reshape(1)])
    columns = torch.cat([c, (r.sum() - mass).clamp(min=0.0).reshape(1)])
    plan, told = ot.emd(rows.numpy(), columns.numpy(), extended.numpy(), numItermax=_PIVOTS, log=True)
    if told["result_code"] != _OPTIMAL:
        raise InfeasibleTransportError(
            f"no exact plan of {n} x {m} was found ({told['warning']}); take an entropic one"
        )
    P = torch.from_numpy(plan)[:-1, :-1].clamp(min=0.0) * allowed
    if _differ_widely(given[allowed].abs()):
        _refuse_lost(given.abs(), P, mass)
    return P * scale


def _needed(C: Tensor, r: Tensor, c: Tensor, allowed: Tensor, mass: float) -> Tensor:
    """Return the allowed cells; where costs >= 0 differ widely, only those that a least plan may use.

    Let b be the least cost such that cells of cost <= b can carry the mass. Where a plan uses a cell of cost
    > (n + m) b, moving its mass along a detour of at most n + m cells of cost <= b is cheaper.
    """
    costs = C[allowed].sort().values
    if not _differ_widely(costs):
        return allowed
    rounding = 4 * sum(C.shape) * _EPS
    low, high = 0, len(costs) - 1
    while low < high:
        middle = (low + high) // 2
        if float(feasible_mass(r, c, allowed & (costs[middle] >= C))) >= mass * (1 - rounding):
            high = middle
        else:
            low = middle + 1
    needed: Tensor = allowed & (sum(C.shape) * costs[low] >= C)
    return needed


def _differ_widely(costs: Tensor) -> bool:
    """Return whether costs >= 0, in any order, may get lost in float64 beside others."""
    positive = costs[costs > 0]
    return len(positive) > 0 and float(positive.max()) > _WIDE * float(positive.min())


def _refuse_lost(cost: Tensor, plan: Tensor, mass: float) -> None:
    """Refuse a plan that needs a cost so large for so little mass that its rounding blurs the total."""
    blur = sum(cost.shape) * _EPS
    dearest = float(torch.where(plan > 4 * blur * mass, cost, 0.0).max())
    if blur * dearest * mass > _PRECISE * float((cost * plan).sum()):
        raise InfeasibleTransportError(
            f"an exact plan needs a cost of {dearest:.3g} for so little mass that the others are lost beside "
            "it in float64; clip the costs, such as to 1e6"
        )
