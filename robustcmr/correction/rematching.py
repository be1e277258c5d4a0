"""Rematching: which other captions the images of mismatched pairs belong to, by partial transport.

With cost C, allowed cells A, even shares 1/n and 1/m, and rho = mass:

    min <C, P> - epsilon H(P)   s.t.  P 1 <= 1/n,  P' 1 <= 1/m,  sum P = rho,  P = 0 outside A
    target of image i    P_i / sum_j P_ij,    weight n sum_j P_ij

If ``max_iterations`` run out, the plan of the last scaling is returned with ``converged`` False; its mass is
still rho to rounding.

Any cost or plan will do, as a tensor or a NumPy array; of scores, ``1 - scores`` is a cost. Results are
detached tensors, at least float32, on the cost's device. Shapes that do not fit and numbers out of range
raise ``ValueError``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.errors import TrainingDivergedError
from robustcmr.losses.checks import allowed_mask
from robustcmr.transport import exact_plan, feasible_mass, partial_plan
from robustcmr.transport.problems import LARGEST_COST
from robustcmr.types import TransportPlan

_SHORT_OF_FULL = 0.99  # the last percent can take very many iterations

Solver = Literal["entropic", "exact"]


@dataclass(frozen=True)
class Targets:
    """Soft targets of both directions and their weights.

    Attributes:
        rows: (n, m) target captions of each image; a row sums to 1, or is 0 where no cell is allowed.
        row_weights: (n,) in [0, 1], the part of its share that the image moved.
        columns: (m, n) target images of each caption, likewise.
        column_weights: (m,) in [0, 1].
    """

    rows: Tensor
    row_weights: Tensor
    columns: Tensor
    column_weights: Tensor


@takes_arrays()
def allowed_cells(row_pairs: Tensor, column_pairs: Tensor, same_image: Tensor | None = None) -> Tensor:
    """Return where mass may move: never from an image to a caption that is suspected not to belong to it.

    The cell of image i, given to pair i, and caption j is forbidden where pair j is suspected and was given
    the same image; only estimates of the given pairs enter.

    Args:
        row_pairs: (n,) int64, pairs whose given images are the rows.
        column_pairs: (m,) int64, suspected pairs whose captions are the columns.
        same_image: (n, m) bool, True where both pairs were given the same image; None to compare ids alone.

    Returns:
        (n, m) bool.

    Example:
        >>> import torch
        >>> allowed_cells(torch.arange(3), torch.tensor([1, 2]))
        tensor([[ True,  True],
                [False,  True],
                [ True, False]])
    """
    n, m = len(row_pairs), len(column_pairs)
    allowed = row_pairs[:, None] != column_pairs[None, :]
    if same_image is None:
        return allowed
    if same_image.shape != (n, m):
        raise ValueError(f"same_image must be ({n}, {m}), rows by columns, got {tuple(same_image.shape)}")
    return allowed & ~same_image


@takes_arrays()
def rematch(
    cost: Tensor,
    allowed: Tensor | None = None,
    mass: float = 0.1,
    epsilon: float = 0.01,
    *,
    solver: Solver = "entropic",
    tolerance: float = 1e-3,
    max_iterations: int = 10_000,
) -> TransportPlan:
    """Move a fixed mass from images to captions at least cost, each giving or taking at most its even share.

    Args:
        cost: C, (n, m) of matching image i with caption j; float types narrower than float32 are widened.
        allowed: A, (n, m) bool, cells that may carry mass; None for everywhere.
        mass: rho in (0, 1], of the mass 1 that the images hold together. Where the allowed cells carry less,
            99% of what they carry is moved; see ``mass`` of the result.
        epsilon: smoothing > 0, in units of the cost; 0.01 suits cosines. Of other scores, take about 5% of
            their standard deviation.
        solver: ``entropic`` on the cost's device, or ``exact``: no entropy, by POT on the CPU.
        tolerance: share of the mass that may be out of place (entropic).
        max_iterations: most scalings of rows and columns (entropic).

    Returns:
        The plan, detached, at least float32, on the device of the cost. Where no cell is allowed it is a plan
        of zeros, which counts as converged.

    Raises:
        ValueError: shapes or numbers do not fit.
        TrainingDivergedError: an allowed cost is NaN or infinite.

    Example:
        >>> import torch
        >>> rematch(torch.tensor([[0.1, 0.9], [0.8, 0.3]]), mass=0.5, solver="exact").plan
        tensor([[0.5000, 0.0000],
                [0.0000, 0.0000]])

    References:
        Han et al., L2RM, CVPR 2024. Departure: no dummy points; see ``partial_plan`` for why.
    """
    with torch.no_grad(), torch.autocast(cost.device.type, enabled=False):
        cells = checked_cells(cost, allowed)
        moved = movable_mass(cells, mass)
        if moved == 0:
            return nothing_moved(cost)
        n, m = cost.shape
        rows, columns = (cost.new_full((size,), 1 / size, dtype=torch.float32) for size in (n, m))
        if solver == "exact":
            return exact_plan(cost, rows, columns, mass=moved, allowed=cells)
        return partial_plan(
            cost,
            rows,
            columns,
            moved,
            epsilon=epsilon,
            allowed=cells,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )


@takes_arrays()
def rematch_targets(plan: Tensor, allowed: Tensor | None = None, floor: float = 1e-6) -> Targets:
    """Read a plan as soft targets: rows normalised for the images, columns for the captions.

    A small constant is added to every allowed cell, so the target of a row without mass is uniform over its
    allowed cells. The weights are the moved part of each share: rows that the plan leaves alone count for
    nothing. The released code weights all rows alike; most targets are then uniform or noise.

    Args:
        plan: P, (n, m) >= 0, mass moved between even shares 1/n and 1/m.
        allowed: (n, m) bool, cells that might carry mass; None for everywhere.
        floor: total of the constants added to a row, relative to its share, > 0.

    Returns:
        The targets, detached.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[0.9, 0.2], [0.1, 0.5]])
        >>> found = rematch_targets(rematch(1 - scores, mass=0.5).plan)
        >>> found.rows.round(decimals=2)
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]], dtype=torch.float64)
        >>> found.row_weights.round(decimals=2)
        tensor([1., 0.], dtype=torch.float64)
    """
    if not floor > 0:
        raise ValueError(f"the floor must be positive, got {floor}")
    plan = plan.detach()
    cells = allowed_mask(plan, allowed)
    return Targets(*_normalised(plan, cells, floor), *_normalised(plan.T, cells.T, floor))


def movable_mass(allowed: Tensor, mass: float) -> float:
    """Return the mass, or 99% of what the allowed cells carry between even shares where that is less.

    A mask (n, m) that clearly carries it, such as one that forbids single cells, costs one small sum; others
    are solved as a flow on the CPU. The result is 0 where no cell is allowed.
    """
    if not 0 < mass <= 1:
        raise ValueError(f"the mass to rematch must be above 0 and at most 1, got {mass}")
    n, m = allowed.shape
    cells = allowed.to(torch.float32)
    # lower bound: every row spreads its share evenly, every column accepts evenly, the lesser passes
    by_row = 1 / (n * cells.sum(1, keepdim=True)).clamp(min=1)
    by_column = 1 / (m * cells.sum(0, keepdim=True)).clamp(min=1)
    passes = float((torch.minimum(by_row, by_column) * cells).sum())
    if passes == 0:
        return 0.0
    if mass <= passes * (1 + 1e-6):
        return mass
    rows, columns = torch.full((n,), 1 / n), torch.full((m,), 1 / m)
    return min(mass, float(feasible_mass(rows, columns, allowed)) * _SHORT_OF_FULL)


def nothing_moved(cost: Tensor) -> TransportPlan:
    """Return a plan of zeros for a cost (n, m)."""
    plan = torch.zeros_like(cost, dtype=torch.promote_types(cost.dtype, torch.float32))
    zero = plan.new_zeros(())
    return TransportPlan(plan, plan.sum(-1), plan.sum(-2), zero, 0, zero, zero == 0)


def checked_cells(cost: Tensor, allowed: Tensor | None) -> Tensor:
    """Return the mask of a cost, all True where it is None; refuse an allowed cost that is no number."""
    cells = allowed_mask(cost, allowed)
    if not bool((torch.where(cells, cost, 0.0).abs() < LARGEST_COST).all()):
        raise TrainingDivergedError(
            f"a cost of rematching is NaN, infinite or above {LARGEST_COST:g} in size; "
            "the scores have diverged, so lower the learning rate or clip gradients"
        )
    return cells


def _normalised(plan: Tensor, cells: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Rows that sum to 1, or to 0 where no cell is allowed, and the part of its share that each row moved."""
    used = torch.where(cells, plan * len(plan), 0.0)  # a full row sums to 1
    count = cells.sum(1, keepdim=True).clamp(min=1)
    raised = torch.where(cells, used + floor / count, 0.0)
    total = raised.sum(1, keepdim=True)
    return raised / torch.where(total > 0, total, 1.0), used.sum(1).clamp(max=1.0)
