"""Rematching as released: balanced entropic transport with a dummy image and a dummy caption.

    min <C, P> - epsilon H(P)   over the (n + 1, m + 1) problem with weights
    rows (1/n, ..., 1/n, 1 - mass),  columns (1/m, ..., 1/m, 1 - mass)

The cost is 0 to a dummy and 2 max(C) from dummy to dummy. Entropy over the dummies blurs which rows move, and
the loose tolerance of the release moves 0.106 for 0.1; with the tolerance below it is 0.091 to 0.095.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from robustcmr.arrays import takes_arrays
from robustcmr.correction.rematching import checked_cells, movable_mass, nothing_moved
from robustcmr.transport import balanced_plan
from robustcmr.types import TransportPlan


@takes_arrays()
def dummy_point_plan(
    cost: Tensor,
    allowed: Tensor | None = None,
    mass: float = 0.1,
    epsilon: float = 0.01,
    tolerance: float = 1e-2,
    *,
    max_iterations: int = 10_000,
) -> TransportPlan:
    """Return the block of images and captions of the plan with dummy points.

    Args:
        cost: C, (n, m) of matching image i with caption j, >= 0; any float type.
        allowed: (n, m) bool, cells that may carry mass; None for everywhere.
        mass: rho in (0, 1]; lowered as by ``rematch`` where the allowed cells carry less.
        epsilon: smoothing > 0, in units of the cost.
        tolerance: stop when the marginals of the whole problem are off by this share in total.
        max_iterations: most scalings of rows and columns.

    Returns:
        The block's plan, its marginals and mass, detached; error and convergence are those of the whole
        problem. Zeros where no cell is allowed.

    Raises:
        ValueError: shapes or numbers do not fit.
        TrainingDivergedError: an allowed cost is NaN or infinite.

    Example:
        >>> import torch
        >>> dummy_point_plan(1 - torch.eye(2), mass=0.5, epsilon=0.1, tolerance=1e-5).plan.round(decimals=3)
        tensor([[0.2500, 0.0000],
                [0.0000, 0.2500]])

    References:
        Han et al., L2RM, CVPR 2024; Chapel, Alaya and Gasso, 2020, for the dummy points.
    """
    with torch.no_grad(), torch.autocast(cost.device.type, enabled=False):
        cells = checked_cells(cost, allowed)
        moved = movable_mass(cells, mass)
        if moved == 0:
            return nothing_moved(cost)
        n, m = cost.shape
        local = torch.where(cells, cost, 0.0)
        if bool((local < 0).any()):  # twice the largest would not keep mass from passing between the dummies
            raise ValueError(f"costs must be at least 0, got {float(local.min()):.3g}; add a constant to all")
        extended = pad(local, (0, 1, 0, 1))  # (n + 1, m + 1)
        extended[-1, -1] = 2 * local.max()
        rows = pad(cost.new_full((n,), 1 / n, dtype=torch.float32), (0, 1), value=1 - moved)
        columns = pad(cost.new_full((m,), 1 / m, dtype=torch.float32), (0, 1), value=1 - moved)
        whole = balanced_plan(
            extended,
            rows,
            columns,
            epsilon=epsilon,
            mask=pad(cells, (0, 1, 0, 1), value=True),
            tolerance=tolerance,
            max_iterations=max_iterations,
        )
        plan = whole.plan[:-1, :-1]
        return TransportPlan(
            plan,
            plan.sum(-1),
            plan.sum(-2),
            plan.sum(),
            whole.iterations,
            whole.marginal_error,
            whole.converged,
        )
