"""Exact transport without entropy, solved by POT on the CPU: a reference, and a choice for small problems."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.transport.problems import Problem, balance, prepare, refuse_infeasible
from robustcmr.types import TransportPlan

_PIVOTS = 10_000_000
_CLOSE = 2e-5  # error that rounding may leave


def exact_plan(
    cost: Tensor,
    row_weights: Tensor,
    column_weights: Tensor,
    *,
    mass: float | Tensor | None = None,
    allowed: Tensor | None = None,
) -> TransportPlan:
    """Plans P >= 0 of least <cost, P>, balanced or of a fixed mass; one by one, in float64 on the CPU.

    Args:
        cost: (..., n, m) any real numbers.
        row_weights: (..., n) >= 0, mass of each row, or the most it may send; 0 for padding.
        column_weights: (..., m) >= 0, the same for columns.
        mass: None for a balanced plan, else the mass to move, > 0; a number, or (...) one for each problem.
        allowed: (..., n, m) bool, True where a cell may carry mass; None for everywhere.

    Returns:
        The plan, on the device and in the type of the cost, at least float32, without gradients.

    Raises:
        ValueError: if shapes or numbers do not fit.
        InfeasibleTransportError: if a side is empty, or weights and mask cannot carry the mass.

    References:
        Chapel, Alaya and Gasso, "Partial Optimal Transport with Applications on Positive-Unlabeled Learning",
        2020, for the dummy points; POT, https://pythonot.github.io.
    """
    balanced = mass is None
    problem = prepare(cost.detach(), row_weights.detach(), column_weights.detach(), allowed, mass)
    if balanced:
        problem = balance(problem)
    cells, r, c, wanted = (x.cpu() for x in problem.one_by_one())
    plan = torch.stack(
        [
            _solve_one(*parts)
            for parts in zip(
                problem.cost.reshape(cells.shape).cpu().double(),
                r.double(),
                c.double(),
                cells,
                [None] * len(cells) if balanced else wanted.tolist(),
                strict=True,
            )
        ]
    )
    return _outcome(problem, plan.view(problem.cost.shape).to(problem.cost), balanced)


def _solve_one(cost: Tensor, r: Tensor, c: Tensor, allowed: Tensor, mass: float | None) -> Tensor:
    """(n, m) plan of one problem; what could not avoid forbidden cells is left out of it."""
    import ot

    lowest = float(cost[allowed].min()) if bool(allowed.any()) else 0.0
    spread = float((cost - lowest)[allowed].max()) if bool(allowed.any()) else 0.0
    # Costs within 0..1 and forbidden ones above any detour, which has at most n + m cells.
    scaled = torch.where(
        allowed, (cost - lowest) / (spread if spread > 0 else 1.0), float(sum(cost.shape) + 1)
    )
    if mass is None:
        plan = ot.emd(r.numpy(), c.numpy(), scaled.numpy(), numItermax=_PIVOTS)
    else:
        least = min(mass, float(r.sum()), float(c.sum()))
        plan = ot.partial.partial_wasserstein(
            r.numpy(), c.numpy(), scaled.numpy(), m=least, numItermax=_PIVOTS
        )
    return torch.from_numpy(plan).clamp(min=0.0) * allowed


def _outcome(problem: Problem, plan: Tensor, balanced: bool) -> TransportPlan:
    rows, columns, mass = plan.sum(-1), plan.sum(-2), plan.sum((-2, -1))
    wanted = problem.one_by_one()[-1].view(problem.batch)
    over_r, over_c = rows - problem.rows, columns - problem.columns
    if balanced:
        missed = over_r.abs().sum(-1) + over_c.abs().sum(-1)
    else:
        missed = over_r.clamp(min=0.0).sum(-1) + over_c.clamp(min=0.0).sum(-1) + (mass - wanted).abs()
    error = missed / wanted
    converged = error <= _CLOSE
    if not bool(converged.all()):
        refuse_infeasible(problem, ~converged)
    return TransportPlan(plan, rows, columns, mass, 0, error, converged)
