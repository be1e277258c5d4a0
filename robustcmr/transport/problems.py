"""Transport problems as given by callers: checked, widened, and bounded by what they can carry."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustcmr.errors import InfeasibleTransportError
from robustcmr.transport.scaling import Side

_SLACK = 1e-5  # relative excess of mass that rounding explains
_UNEQUAL = 1e-2  # relative difference of two masses that rounding cannot explain, not even of bfloat16


@dataclass(frozen=True)
class Problem:
    """A checked problem, at least float32.

    Attributes:
        cost: (..., n, m), zero where not allowed.
        allowed: (..., n, m) bool, cells that may carry mass.
        rows: side of the rows.
        columns: side of the columns.
    """

    cost: Tensor
    allowed: Tensor
    rows: Side
    columns: Side

    @property
    def levelled_cost(self) -> Tensor:
        """(..., n, m) cost less its smallest allowed value: where the mass is fixed, the plan is the same."""
        C = self.cost.detach()
        return self.cost - torch.where(self.allowed, C, torch.inf).amin((-2, -1), keepdim=True)


def prepare(cost: Tensor, row_weights: Tensor, column_weights: Tensor, allowed: Tensor | None) -> Problem:
    """Check a problem and bring all its parts to one type and shape.

    Args:
        cost: (..., n, m); finite where mass is allowed.
        row_weights: (..., n) >= 0, leading axes broadcast.
        column_weights: (..., m) >= 0, leading axes broadcast.
        allowed: (..., n, m) bool, leading axes broadcast; None allows all.

    Returns:
        The problem; cells of rows and columns without weight are never allowed.

    Raises:
        ValueError: if shapes do not fit, a weight is negative or a number is not finite.
        InfeasibleTransportError: if some problem has no row or no column with weight.
    """
    n, m = cost.shape[-2:]
    if row_weights.shape[-1] != n or column_weights.shape[-1] != m:
        raise ValueError(
            f"a cost of {n} x {m} needs {n} row and {m} column weights, "
            f"got {row_weights.shape[-1]} and {column_weights.shape[-1]}"
        )
    if allowed is not None and allowed.dtype != torch.bool:
        raise ValueError(f"the mask of allowed cells must be bool, got {allowed.dtype}")
    if n == 0 or m == 0 or cost.numel() == 0:
        raise InfeasibleTransportError(
            f"a transport problem of {n} rows and {m} columns has an empty side; give it at least one of each"
        )
    dtype = torch.promote_types(cost.dtype, torch.float32)
    C, r, c = cost.to(dtype), row_weights.to(dtype), column_weights.to(dtype)
    cells = (r > 0).unsqueeze(-1) & (c > 0).unsqueeze(-2) & torch.ones_like(C, dtype=torch.bool)
    if allowed is not None:
        cells = cells & allowed
    r, c = r.expand(cells.shape[:-1]), c.expand(*cells.shape[:-2], m)
    C = torch.where(cells, C, 0.0)
    bad = [
        ~C.isfinite().all(),
        ~_are_weights(r) | ~_are_weights(c),
        ~((r > 0).any(-1) & (c > 0).any(-1)).all(),
    ]
    no_cost, no_weight, empty = torch.stack(bad).tolist()
    if no_cost or no_weight:
        raise ValueError("costs must be finite where mass is allowed, and weights finite and not negative")
    if empty:
        raise InfeasibleTransportError(
            "a transport problem has rows or columns whose weights are all zero; "
            "give each side some weight or leave that problem out"
        )
    return Problem(C, cells, Side(r, cells.any(-1)), Side(c, cells.any(-2)))


def balance(problem: Problem) -> Problem:
    """Scale the columns to the rows' mass, where the two differ by rounding.

    Args:
        problem: the problem.

    Returns:
        The problem with equal masses.

    Raises:
        InfeasibleTransportError: if the masses differ by more.
    """
    rows, columns = problem.rows.weights.sum(-1), problem.columns.weights.sum(-1)
    difference = (rows - columns).detach().abs()
    if bool((difference > _UNEQUAL * rows).any()):
        raise InfeasibleTransportError(
            "row and column weights of a balanced problem must have equal sums, got some that differ by "
            f"{float(difference.max()):.3g}; scale them, or use a partial or unbalanced plan"
        )
    scaled = problem.columns.weights * (rows / columns).unsqueeze(-1)
    return replace(problem, columns=Side(scaled, problem.columns.present))


def _are_weights(weights: Tensor) -> Tensor:
    return (weights.isfinite() & (weights >= 0)).all()


def require_mass(problem: Problem, mass: Tensor) -> Tensor:
    """Refuse a mass that some row, column or mask plainly cannot carry.

    This is the cheap test: each row sends at most its weight and what its allowed columns hold, and the same
    for columns. A problem may pass it and still be infeasible; ``feasible_mass`` is exact.

    Args:
        problem: the problem.
        mass: (...) mass to be moved.

    Returns:
        (...) mass to be moved, brought down to the bound where rounding put it above.

    Raises:
        ValueError: if a mass is not a positive finite number.
        InfeasibleTransportError: if a mass is above that bound; the message gives the exact one.
    """
    r, c = problem.rows.weights.detach(), problem.columns.weights.detach()
    cells = problem.allowed.to(r.dtype)
    by_rows = torch.minimum(r, (cells @ c.unsqueeze(-1)).squeeze(-1)).sum(-1)
    by_columns = torch.minimum(c, (r.unsqueeze(-2) @ cells).squeeze(-2)).sum(-1)
    bound = torch.minimum(by_rows, by_columns)
    above = mass > bound * (1 + _SLACK)
    wrong, too_much = torch.stack([~((mass > 0) & mass.isfinite()).all(), above.any()]).tolist()
    if wrong:
        raise ValueError("the mass to move must be a positive finite number")
    if too_much:
        refuse_infeasible(problem, mass, above)
    return torch.minimum(mass, bound)


def refuse_infeasible(problem: Problem, mass: Tensor, suspects: Tensor) -> None:
    """Raise if a suspected problem is asked to move more than it can, by the exact bound.

    Args:
        problem: the problem.
        mass: (...) mass to be moved.
        suspects: (...) bool, which problems of the batch to look at.

    Raises:
        InfeasibleTransportError: naming the first such problem, the mass asked for and the bound.
    """
    n, m = problem.cost.shape[-2:]
    wanted = mass.detach().expand(suspects.shape).reshape(-1)
    r, c = problem.rows.weights.reshape(-1, n), problem.columns.weights.reshape(-1, m)
    cells = problem.allowed.reshape(-1, n, m)
    for i in suspects.reshape(-1).nonzero().flatten().tolist():
        bound = float(feasible_mass(r[i], c[i], cells[i]))
        if float(wanted[i]) > bound * (1 + _SLACK):
            raise InfeasibleTransportError(
                f"transport problem {i} is asked to move a mass of {float(wanted[i]):.6g}, but its weights "
                f"and mask let at most {bound:.6g} pass; ask for less mass or allow more cells"
            )


def feasible_mass(row_weights: Tensor, column_weights: Tensor, allowed: Tensor) -> Tensor:
    """Most mass that can pass through the allowed cells: a maximum flow, solved exactly on the CPU.

    Args:
        row_weights: (n,) >= 0.
        column_weights: (m,) >= 0.
        allowed: (n, m) bool.

    Returns:
        Scalar float64 on the CPU.
    """
    import ot

    r, c = (x.detach().cpu().double() for x in (row_weights, column_weights))
    cells = allowed.cpu()
    # With a dummy on either side that takes what is left at cost 1, moving a unit for nothing saves 2; a
    # forbidden cell at cost 3 is worse than both dummies, so none is used.
    cost = torch.ones(len(r) + 1, len(c) + 1, dtype=torch.float64)
    cost[:-1, :-1] = torch.where(cells, 0.0, 3.0)
    cost[-1, -1] = 0.0
    left, right = torch.cat([r, c.sum().reshape(1)]), torch.cat([c, r.sum().reshape(1)])
    plan = torch.from_numpy(ot.emd(left.numpy(), right.numpy(), cost.numpy(), numItermax=10_000_000))
    return (plan[:-1, :-1] * cells).sum()
