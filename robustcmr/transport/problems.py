"""Transport problems as callers give them: checked, widened to float32, and tested for feasibility."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustcmr.errors import InfeasibleTransportError

FORBIDDEN = 1e30  # cost of a cell that may not carry mass: exp(-FORBIDDEN / epsilon) is exactly 0
SLACK = 1e-5  # relative excess of mass that rounding explains
_UNEQUAL = 1e-2  # relative difference of two masses that even rounding to bfloat16 cannot explain


@dataclass(frozen=True)
class Problem:
    """A checked problem, at least float32."""

    cost: Tensor  # (..., n, m), about ``FORBIDDEN`` where no mass may pass
    rows: Tensor  # (..., n) >= 0 weights; without leading axes if all problems share them
    columns: Tensor  # (..., m) >= 0 weights, likewise
    mass: Tensor | None = None  # (...) mass to move; None if not given

    @property
    def batch(self) -> torch.Size:
        """Return the leading axes of the problem."""
        return self.cost.shape[:-2]

    def one_by_one(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return allowed cells (B, n, m), weights (B, n) and (B, m), and mass (B,), all detached."""
        n, m = self.cost.shape[-2:]
        mass = self.rows.sum(-1) if self.mass is None else self.mass
        return (
            (self.cost.detach() < FORBIDDEN / 2).reshape(-1, n, m),
            self.rows.detach().expand(*self.batch, n).reshape(-1, n),
            self.columns.detach().expand(*self.batch, m).reshape(-1, m),
            mass.detach().expand(self.batch).reshape(-1),
        )


def check_options(epsilon: float, tolerance: float, max_iterations: int) -> None:
    """Raise a ValueError if an option of an iteration is out of range."""
    if not (epsilon > 0 and tolerance > 0 and max_iterations >= 1):
        raise ValueError(
            "epsilon and tolerance must be positive and max_iterations at least 1, "
            f"got {epsilon}, {tolerance} and {max_iterations}"
        )


def prepare(
    cost: Tensor,
    row_weights: Tensor,
    column_weights: Tensor,
    allowed: Tensor | None,
    mass: float | Tensor | None = None,
) -> Problem:
    """Check a problem and bring all its parts to one type.

    A valid problem costs one transfer of a few numbers from the device.

    Cells of rows and columns without weight are forbidden; a mass that rounding put above that of a side is
    reduced to it. Arguments are those of ``partial_plan``; costs must be finite where mass is allowed.

    Raises:
        ValueError: shapes do not fit, a weight is negative, a number not finite or a mass not positive.
        InfeasibleTransportError: a problem has no row or no column with weight, or a mass above a side's.
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
    if allowed is not None:
        open_cells = allowed.view(torch.uint8).to(dtype)  # bool itself is converted far more slowly
        C = C + open_cells.mul_(-FORBIDDEN).add_(FORBIDDEN)
    if r.dim() > 1 or c.dim() > 1:
        batch = torch.broadcast_shapes(C.shape[:-2], r.shape[:-1], c.shape[:-1])  # type: ignore[no-untyped-call]
        C = C.expand(*batch, n, m)
    if mass is not None:
        asked = torch.as_tensor(mass, dtype=dtype, device=C.device)
    with torch.no_grad():
        numbers = [*r.aminmax(), *c.aminmax(), C.sum()]  # a sum is finite only if all terms are
        if mass is not None:
            bound = torch.minimum(r.sum(-1), c.sum(-1))
            numbers += [asked.amin(), (asked / bound).amax()]
        low_r, high_r, low_c, high_c, total, *masses = torch.stack(numbers).tolist()
    if not (low_r >= 0 and low_c >= 0 and math.isfinite(high_r + high_c)):
        raise ValueError("weights must be finite and not negative")
    if low_r == 0 or low_c == 0 or not math.isfinite(total):
        C = _without_padding(C, r, c, allowed)
    problem = Problem(C, r, c)
    if mass is None:
        return problem
    least, share = masses
    if not (least > 0 and math.isfinite(share)):
        raise ValueError("the mass to move must be a positive finite number")
    if share > 1 + SLACK:
        refuse_infeasible(replace(problem, mass=asked), asked > bound * (1 + SLACK))
    return replace(problem, mass=torch.minimum(asked, bound))


def _without_padding(C: Tensor, r: Tensor, c: Tensor, allowed: Tensor | None) -> Tensor:
    """Return the cost, ``FORBIDDEN`` exactly where the mask or a weight of 0 forbids a cell."""
    if not bool((r.sum(-1) > 0).all() & (c.sum(-1) > 0).all()):
        raise InfeasibleTransportError(
            "a transport problem has rows or columns whose weights are all zero; "
            "give each side some weight or leave that problem out"
        )
    cells = (r > 0).unsqueeze(-1) & (c > 0).unsqueeze(-2)
    C = torch.where(cells if allowed is None else cells & allowed, C, FORBIDDEN)
    if not bool(C.isfinite().all()):
        raise ValueError("costs must be finite where mass is allowed")
    return C


def balance(problem: Problem) -> Problem:
    """Return the problem of moving all mass of the rows, columns scaled to it; refuse masses that differ."""
    rows, columns = problem.rows.sum(-1), problem.columns.sum(-1)
    difference = (rows - columns).detach().abs()
    if bool((difference > _UNEQUAL * rows).any()):
        raise InfeasibleTransportError(
            "row and column weights of a balanced problem must have equal sums, got some that differ by "
            f"{float(difference.max()):.3g}; scale them, or use a partial or unbalanced plan"
        )
    return replace(problem, columns=problem.columns * (rows / columns).unsqueeze(-1), mass=rows)


def overloaded(problem: Problem) -> Tensor:
    """Return (B,) which problems are infeasible by a cheap bound; others may be so by ``feasible_mass``.

    Each row sends at most its weight and what its allowed columns hold, and the same for columns.
    """
    cells, r, c, mass = problem.one_by_one()
    cells = cells.to(r)
    by_rows = torch.minimum(r, (cells @ c.unsqueeze(-1)).squeeze(-1)).sum(-1)
    by_columns = torch.minimum(c, (r.unsqueeze(-2) @ cells).squeeze(-2)).sum(-1)
    return mass > torch.minimum(by_rows, by_columns) * (1 + SLACK)


def refuse_infeasible(problem: Problem, suspects: Tensor) -> None:
    """Raise InfeasibleTransportError for the first of ``suspects``, (...) bool, that must move too much."""
    cells, r, c, mass = problem.one_by_one()
    for i in suspects.expand(problem.batch).reshape(-1).nonzero().flatten().tolist():
        bound = float(feasible_mass(r[i], c[i], cells[i]))
        if float(mass[i]) > bound * (1 + SLACK):
            raise InfeasibleTransportError(
                f"transport problem {i} is asked to move a mass of {float(mass[i]):.6g}, but its weights "
                f"and mask let at most {bound:.6g} pass; ask for less mass or allow more cells"
            )


def feasible_mass(row_weights: Tensor, column_weights: Tensor, allowed: Tensor) -> Tensor:
    """Return the most mass that the allowed cells can carry: a maximum flow, solved exactly on the CPU.

    Args:
        row_weights: (n,) >= 0.
        column_weights: (m,) >= 0.
        allowed: (n, m) bool.

    Returns:
        Scalar float64 on the CPU.

    Example:
        >>> import torch
        >>> from robustcmr.transport import feasible_mass
        >>> half = torch.tensor([0.5, 0.5])
        >>> feasible_mass(half, half, torch.tensor([[True, False], [True, False]]))
        tensor(0.5000, dtype=torch.float64)
    """
    import ot

    r, c = (x.detach().cpu().double() for x in (row_weights, column_weights))
    cells = allowed.cpu()
    # A dummy on either side takes what is left at cost 1, so each unit moved at cost 0 saves 2. A forbidden
    # cell costs 3, more than both dummies, so none is used.
    cost = torch.ones(len(r) + 1, len(c) + 1, dtype=torch.float64)
    cost[:-1, :-1] = torch.where(cells, 0.0, 3.0)
    cost[-1, -1] = 0.0
    left, right = torch.cat([r, c.sum().reshape(1)]), torch.cat([c, r.sum().reshape(1)])
    plan = torch.from_numpy(ot.emd(left.numpy(), right.numpy(), cost.numpy(), numItermax=10_000_000))
    return (plan[:-1, :-1] * cells).sum()
