"""Transport problems as callers give them: checked, widened to float32, and tested for feasibility."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.errors import InfeasibleTransportError

FORBIDDEN = 1e30  # cost of a cell that may not carry mass: exp(-FORBIDDEN / epsilon) is exactly 0
LARGEST_COST = 5e29  # of a cell that may, on either side of 0
LEAST_SIDE = 1e-30  # least sum of a side's weights: ``SMALLEST`` is added to what they are divided by
SLACK = 1e-5  # relative excess of mass that rounding explains
_BLURRED = 0.05  # relative error of a plan's cell, by rounding of costs, that is refused
_SEEN = 1e-6  # share of the mass, times the cells, below which a cell carries next to nothing
_UNEQUAL = 1e-2  # relative difference of two masses that even rounding to bfloat16 cannot explain


@dataclass(frozen=True)
class Problem:
    """A checked problem, at least float32."""

    cost: Tensor  # (..., n, m), about ``FORBIDDEN`` where no mass may pass
    rows: Tensor  # (..., n) >= 0 weights; without leading axes if all problems share them
    columns: Tensor  # (..., m) >= 0 weights, likewise
    mass: Tensor | None = None  # (...) mass to move; None if not given
    spread: float = 0.0  # largest absolute cost or difference of two, of forbidden cells too

    @property
    def batch(self) -> torch.Size:
        """Return the leading axes of the problem."""
        return self.cost.shape[:-2]

    def may_blur(self, epsilon: float) -> bool:
        """Return whether rounding of a cost may matter beside epsilon; see ``refuse_blurred``."""
        return self.spread * torch.finfo(self.cost.dtype).eps > _BLURRED * epsilon

    def one_by_one(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return allowed cells (B, n, m), weights (B, n) and (B, m), and mass (B,), all detached."""
        n, m = self.cost.shape[-2:]
        mass = self.rows.sum(-1) if self.mass is None else self.mass
        return (
            (self.cost.detach() < LARGEST_COST).reshape(-1, n, m),
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


def check_scaling(smoothing: float, iterations: int) -> None:
    """Raise a ValueError if smoothing or the number of iterations of a scaling is out of range."""
    if not (0 < smoothing < math.inf and iterations >= 1):
        raise ValueError(
            f"smoothing must be positive and iterations at least 1, got {smoothing} and {iterations}; "
            "expected such as smoothing=0.05, iterations=3"
        )


def prepare(
    cost: Tensor,
    row_weights: Tensor | None,
    column_weights: Tensor | None,
    allowed: Tensor | None,
    mass: float | Tensor | None = None,
) -> Problem:
    """Check a problem and bring all its parts to one type.

    A valid problem costs one transfer of a few numbers from the device.

    Cells of rows and columns without weight are forbidden; a mass that rounding put above that of a side is
    reduced to it. Arguments are those of ``partial_plan``; where mass is allowed, costs must be within
    ``LARGEST_COST``.

    Raises:
        ValueError: shapes do not fit, a weight is negative, a number not finite or a mass not positive.
        InfeasibleTransportError: a problem has a side without weight, or of less than ``LEAST_SIDE``, or a
            mass above a side's.
    """
    if cost.ndim < 2:
        raise ValueError(
            f"the cost has shape {tuple(cost.shape)}; expected a matrix (n, m) or a batch of them"
        )
    n, m = cost.shape[-2:]
    row_weights, column_weights = even_weights(cost, row_weights, column_weights)
    if row_weights.shape[-1:] != (n,) or column_weights.shape[-1:] != (m,):
        raise ValueError(
            f"a cost of {n} x {m} needs {n} row and {m} column weights, "
            f"got {tuple(row_weights.shape)} and {tuple(column_weights.shape)}"
        )
    if allowed is not None and allowed.dtype != torch.bool:
        raise ValueError(f"the mask of allowed cells must be bool, got {allowed.dtype}")
    if allowed is not None and allowed.shape[-2:] != (n, m):
        raise ValueError(f"a cost of {n} x {m} needs a mask like it, got {tuple(allowed.shape)}")
    if n == 0 or m == 0 or cost.numel() == 0:
        raise InfeasibleTransportError(
            f"a transport problem of {n} rows and {m} columns has an empty side; give it at least one of each"
        )
    dtype = torch.promote_types(cost.dtype, torch.float32)
    C, r, c = cost.to(dtype), row_weights.to(dtype), column_weights.to(dtype)
    lowest, highest = C.detach().aminmax()
    if allowed is not None:
        open_cells = allowed.view(torch.uint8).to(dtype)  # bool itself is converted far more slowly
        C = C + open_cells.mul_(-FORBIDDEN).add_(FORBIDDEN)
    if r.dim() > 1 or c.dim() > 1:
        batch = torch.broadcast_shapes(C.shape[:-2], r.shape[:-1], c.shape[:-1])  # type: ignore[no-untyped-call]
        C = C.expand(*batch, n, m)
    if mass is not None:
        asked = torch.as_tensor(mass, dtype=dtype, device=C.device)
    with torch.no_grad():
        sums = r.sum(-1), c.sum(-1)
        numbers = [*r.aminmax(), *c.aminmax(), *sums[0].aminmax(), *sums[1].aminmax(), lowest, highest]
        if mass is not None:
            bound = torch.minimum(*sums)
            numbers += [asked.amin(), (asked / bound).amax()]
        low_r, high_r, low_c, high_c, least_r, most_r, least_c, most_c, low, high, *masses = torch.stack(
            numbers
        ).tolist()
    if not (low_r >= 0 and low_c >= 0 and math.isfinite(high_r + high_c)):
        raise ValueError("weights must be finite and not negative")
    if not (min(least_r, least_c) >= LEAST_SIDE and math.isfinite(most_r + most_c)):
        raise InfeasibleTransportError(
            f"a transport problem has rows or columns whose weights sum to {min(least_r, least_c):.3g}; "
            f"expected a finite sum of at least {LEAST_SIDE:g}, so scale them or leave that problem out"
        )
    if low_r == 0 or low_c == 0 or not (low > -LARGEST_COST and high < LARGEST_COST):
        C = _without_padding(C, r, c, allowed)
    problem = Problem(C, r, c, spread=max(abs(low), abs(high), high - low))
    if mass is None:
        return problem
    least, share = masses
    if not (least > 0 and math.isfinite(share)):
        raise ValueError("the mass to move must be a positive finite number")
    if share > 1 + SLACK:
        refuse_infeasible(replace(problem, mass=asked), asked > bound * (1 + SLACK))
    return replace(problem, mass=torch.minimum(asked, bound))


def even_weights(cost: Tensor, rows: Tensor | None, columns: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the weights of both sides; one that is None shares the other's sum evenly, or 1 if both are."""
    n, m = cost.shape[-2:]
    dtype = torch.promote_types(cost.dtype, torch.float32)
    if rows is None:
        total = cost.new_ones(1, dtype=dtype) if columns is None else columns.sum(-1, keepdim=True).to(dtype)
        rows = (total / max(n, 1)).expand(*total.shape[:-1], n)
    if columns is None:
        total = rows.sum(-1, keepdim=True).to(dtype)
        columns = (total / max(m, 1)).expand(*total.shape[:-1], m)
    return rows, columns


def in_deviations(problem: Problem) -> Problem:
    """Return problems of fixed mass, the costs of each divided by their standard deviation.

    Cells that may carry no mass do not count. Costs that differ by rounding alone are divided by what
    rounding explains, so that they still count as equal.
    """
    C = problem.cost.detach()
    cells = C < LARGEST_COST
    axes = (-2, -1)
    lowest = torch.where(cells, C, torch.inf).amin(axes, keepdim=True)
    above = torch.where(cells, C - lowest, 0.0)
    widest = above.amax(axes, keepdim=True)
    above = above / torch.where(widest > 0, widest, 1.0)  # so that no square overflows
    count = cells.sum(axes, keepdim=True).clamp(min=1)
    mean = above.sum(axes, keepdim=True) / count
    variance = torch.where(cells, (above - mean) ** 2, 0.0).sum(axes, keepdim=True) / count
    rounding = 4 * torch.finfo(C.dtype).eps * torch.where(cells, C.abs(), 0.0).amax(axes, keepdim=True)
    deviation = torch.maximum(variance.sqrt() * widest, rounding)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    cost = torch.where(cells, problem.cost / deviation, FORBIDDEN)
    return replace(problem, cost=cost, spread=problem.spread / float(deviation.min()))


def _without_padding(C: Tensor, r: Tensor, c: Tensor, allowed: Tensor | None) -> Tensor:
    """Return the cost, ``FORBIDDEN`` exactly where the mask or a weight of 0 forbids a cell."""
    cells = (r > 0).unsqueeze(-1) & (c > 0).unsqueeze(-2)
    cells = cells if allowed is None else cells & allowed
    if not bool((torch.where(cells, C.detach(), 0.0).abs() < LARGEST_COST).all()):
        raise ValueError(
            f"costs must be finite and below {LARGEST_COST:g} in size where mass is allowed; "
            "forbid cells by the mask instead"
        )
    return torch.where(cells, C, FORBIDDEN)


def refuse_blurred(cost: Tensor, plan: Tensor, epsilon: float) -> None:
    """Refuse plans (..., n, m) whose cells with mass have costs too large for their type beside epsilon.

    A cost is rounded by its size times the precision of its type; that over epsilon is the relative error of
    the cell.

    Raises:
        InfeasibleTransportError: the error exceeds 5% where mass passes.
    """
    share = plan / plan.sum((-2, -1), keepdim=True) * math.prod(plan.shape[-2:])
    largest = float(torch.where(share > _SEEN, cost.abs(), 0.0).amax())
    if largest * torch.finfo(cost.dtype).eps > _BLURRED * epsilon:
        kind = str(cost.dtype).removeprefix("torch.")
        raise InfeasibleTransportError(
            f"mass must pass at costs as far apart as {largest:.3g}, too far for {kind} beside "
            f"epsilon={epsilon:g}; clip the costs, such as to 1e3, or raise epsilon"
        )


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


@takes_arrays()
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
    lesser = float(torch.minimum(r.sum(), c.sum()))
    scale = 2.0 ** math.frexp(lesser)[1]  # POT refuses large ones for the rounding of their sums
    r, c = (x.clamp(max=lesser) / scale for x in (r, c))  # no row sends more than all columns hold
    cells = allowed.cpu()
    # A dummy on either side takes what is left at cost 1, so each unit moved at cost 0 saves 2. A forbidden
    # cell costs 3, more than both dummies, so none is used.
    cost = torch.ones(len(r) + 1, len(c) + 1, dtype=torch.float64)
    cost[:-1, :-1] = torch.where(cells, 0.0, 3.0)
    cost[-1, -1] = 0.0
    left, right = torch.cat([r, c.sum().reshape(1)]), torch.cat([c, r.sum().reshape(1)])
    plan = torch.from_numpy(ot.emd(left.numpy(), right.numpy(), cost.numpy(), numItermax=10_000_000))
    return (plan[:-1, :-1] * cells).sum() * scale
