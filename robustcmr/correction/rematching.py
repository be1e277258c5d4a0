"""Rematching: which other captions the images of mismatched pairs go with, by partial transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustcmr.errors import TrainingDivergedError
from robustcmr.transport import feasible_mass, partial_plan
from robustcmr.types import TransportPlan

_SHORT_OF_FULL = 0.99  # the last percent can take the iteration for ever

Weighting = Literal["mass", "uniform"]


@dataclass(frozen=True)
class Targets:
    """Soft targets of both directions, and how much each counts.

    Attributes:
        rows: (n, m) captions wanted by each image; a row sums to 1, or is 0 where no cell is allowed.
        row_weights: (n,) in [0, 1].
        columns: (m, n) images wanted by each caption, likewise.
        column_weights: (m,) in [0, 1].
    """

    rows: Tensor
    row_weights: Tensor
    columns: Tensor
    column_weights: Tensor


def allowed_cells(
    row_pairs: Tensor,
    column_pairs: Tensor,
    same_image: Tensor | None = None,
    distrusted: Tensor | None = None,
) -> Tensor:
    """Where an image may be rematched: not with a caption that is believed not to belong to it.

    The cell of image i, that given to pair i, and caption j is forbidden where i and j are the same pair. It
    is forbidden too where pair j was given the same image and is distrusted: caption j is then believed not
    to describe this very image. Nothing but this belief about the given pairs enters.

    Args:
        row_pairs: (n,) int64, the pairs whose given images are the rows.
        column_pairs: (m,) int64, the pairs whose captions are the columns.
        same_image: (n, m) bool, True where both pairs were given the same image; None if that is
            never so.
        distrusted: (m,) bool, pairs of the columns believed to be wrong; None for all of them.

    Returns:
        (n, m) bool, True where mass may move.

    Raises:
        ValueError: if a shape does not fit.
    """
    n, m = len(row_pairs), len(column_pairs)
    allowed = row_pairs[:, None] != column_pairs[None, :]
    if distrusted is not None and distrusted.shape != (m,):
        raise ValueError(f"distrusted must be ({m},), one a column, got {tuple(distrusted.shape)}")
    if same_image is None:
        return allowed
    if same_image.shape != (n, m):
        raise ValueError(f"same_image must be ({n}, {m}), rows by columns, got {tuple(same_image.shape)}")
    return allowed & ~(same_image if distrusted is None else same_image & distrusted)


def rematch(
    cost: Tensor,
    allowed: Tensor | None = None,
    mass: float = 0.1,
    epsilon: float = 0.01,
    *,
    tolerance: float = 1e-3,
    max_iterations: int = 10_000,
) -> TransportPlan:
    """Move a fixed mass from images to captions at least cost, each giving or taking at most its even share.

    Args:
        cost: (n, m) of matching image i with caption j; any float type, narrow ones are widened to float32.
        allowed: (n, m) bool, cells that may carry mass; None for everywhere.
        mass: rho in (0, 1], of the mass 1 that the images hold together. Where the allowed cells let less
            pass, 99% of what they do is moved; ``mass`` of the outcome tells.
        epsilon: smoothing > 0, in units of the cost.
        tolerance: share of the mass that may be out of place. The mass itself is met to rounding.
        max_iterations: most scalings of rows and columns.

    Returns:
        The plan, detached, rows at most 1/n and columns at most 1/m. Where no cell is allowed, or there is
        none, it is a plan of zeros with mass 0, which counts as converged.

    Raises:
        ValueError: if shapes or numbers do not fit.
        TrainingDivergedError: an allowed cost is NaN or infinite.

    References:
        Han et al., L2RM, CVPR 2024. Departure: no dummy points; see ``partial_plan`` for why.
    """
    with torch.no_grad(), torch.autocast(cost.device.type, enabled=False):
        cells = checked_cells(cost, allowed)
        moved = movable_mass(cells, mass)
        if moved == 0:
            return nothing_moved(cost)
        n, m = cost.shape
        return partial_plan(
            cost,
            cost.new_full((n,), 1 / n, dtype=torch.float32),
            cost.new_full((m,), 1 / m, dtype=torch.float32),
            moved,
            epsilon=epsilon,
            allowed=cells,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )


def rematch_targets(
    plan: Tensor,
    allowed: Tensor | None = None,
    weighting: Weighting = "mass",
    floor: float = 1e-6,
) -> Targets:
    """Read a plan as soft targets: rows normalised for the images, columns for the captions.

    Every allowed cell is raised by the same trifle before, so that a row that carries nothing asks for all of
    its allowed cells evenly in place of dividing 0 by 0.

    Args:
        plan: (n, m) >= 0, mass moved between even shares 1/n and 1/m.
        allowed: (n, m) bool, cells that might carry mass; None for everywhere.
        weighting: ``mass`` counts each row and column by the part of its share that was moved, so that those
            the plan leaves alone teach nothing. ``uniform`` counts all by 1, as released: then most of the
            targets come from rows that moved next to nothing, and are even or chance.
        floor: what all allowed cells of a row are raised by together, relative to its share, > 0.

    Returns:
        The targets, detached.

    Raises:
        ValueError: if a shape does not fit, or weighting or floor is out of range.
    """
    if weighting not in ("mass", "uniform"):
        raise ValueError(f"the weighting must be 'mass' or 'uniform', got {weighting!r}")
    if not floor > 0:
        raise ValueError(f"the floor must be positive, got {floor}")
    plan = plan.detach()
    cells = _cells(plan, allowed)
    rows, row_weights = _normalised(plan, cells, floor)
    columns, column_weights = _normalised(plan.T, cells.T, floor)
    if weighting == "uniform":
        row_weights, column_weights = torch.ones_like(row_weights), torch.ones_like(column_weights)
    return Targets(rows, row_weights, columns, column_weights)


def movable_mass(allowed: Tensor, mass: float) -> float:
    """The mass asked for, or where the mask lets less pass between even shares, 99% of what it does.

    A mask that plainly lets it pass, as one that leaves out single cells of a batch does, costs one small
    sum; only others are solved as a flow, on the CPU.

    Args:
        allowed: (n, m) bool, cells that may carry mass.
        mass: in (0, 1].

    Returns:
        At most ``mass``; 0 where no cell is allowed.

    Raises:
        ValueError: if the mass is out of range.
    """
    if not 0 < mass <= 1:
        raise ValueError(f"the mass to rematch must be above 0 and at most 1, got {mass}")
    n, m = allowed.shape
    cells = allowed.to(torch.float32)
    # Every row spreads its share evenly and every column takes the same from all: the lesser of both passes.
    by_row = 1 / (n * cells.sum(1, keepdim=True)).clamp(min=1)
    by_column = 1 / (m * cells.sum(0, keepdim=True)).clamp(min=1)
    passes = float((torch.minimum(by_row, by_column) * cells).sum())
    if passes == 0:
        return 0.0
    if mass <= passes * (1 + 1e-6):
        return mass
    rows, columns = torch.full((n,), 1 / n), torch.full((m,), 1 / m)
    bound = float(feasible_mass(rows, columns, allowed))
    return mass if mass <= bound * _SHORT_OF_FULL else bound * _SHORT_OF_FULL


def nothing_moved(cost: Tensor) -> TransportPlan:
    """A plan of zeros for a cost (n, m)."""
    plan = torch.zeros_like(cost, dtype=torch.promote_types(cost.dtype, torch.float32))
    zero = plan.new_zeros(())
    return TransportPlan(plan, plan.sum(-1), plan.sum(-2), zero, 0, zero, zero == 0)


def checked_cells(cost: Tensor, allowed: Tensor | None) -> Tensor:
    """The mask of a cost, all True if it has none.

    Raises:
        ValueError: if the cost is no matrix or the mask has another shape.
        TrainingDivergedError: an allowed cost is NaN or infinite.
    """
    cells = _cells(cost, allowed)
    if not bool(torch.where(cells, cost, 0.0).isfinite().all()):
        raise TrainingDivergedError(
            "a cost of rematching is NaN or infinite, where finite numbers were expected; "
            "the scores it was made from have diverged, so lower the learning rate or clip gradients"
        )
    return cells


def _cells(matrix: Tensor, allowed: Tensor | None) -> Tensor:
    if matrix.ndim != 2:
        raise ValueError(f"expected a matrix (n, m), got {tuple(matrix.shape)}")
    if allowed is None:
        return torch.ones_like(matrix, dtype=torch.bool)
    if allowed.shape != matrix.shape or allowed.dtype != torch.bool:
        raise ValueError(
            f"allowed must be bool of shape {tuple(matrix.shape)}, "
            f"got {allowed.dtype} of shape {tuple(allowed.shape)}"
        )
    return allowed


def _normalised(plan: Tensor, cells: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Rows that sum to 1, or to 0 where no cell is allowed, and the part of its share each row moved."""
    used = torch.where(cells, plan * len(plan), 0.0)  # a full row sums to 1
    count = cells.sum(1, keepdim=True).clamp(min=1)
    raised = torch.where(cells, used + floor / count, 0.0)
    total = raised.sum(1, keepdim=True)
    return raised / torch.where(total > 0, total, 1.0), used.sum(1).clamp(max=1.0)
