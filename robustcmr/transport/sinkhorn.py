"""Entropic transport plans after a fixed number of iterations, to inspect and to test against."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinkhorn_plan(
    similarity: Tensor, row_weights: Tensor, column_weights: Tensor, *, smoothing: float, iterations: int
) -> Tensor:
    """Return entropic transport plans, rows scaled and then columns, in the log domain.

    Args:
        similarity: (..., R, W) any real numbers; larger attracts more mass.
        row_weights: (..., R) >= 0, mass that leaves each row; 0 removes the row.
        column_weights: (..., W) >= 0, mass that reaches each column; 0 removes the column.
        smoothing: lambda > 0, in units of similarity.
        iterations: T >= 1 scalings of rows and columns; columns come last and are met exactly.

    Returns:
        (..., R, W) plan, at least float32.

    References:
        Cuturi, "Sinkhorn Distances", 2013.

    Example:
        >>> import torch
        >>> from robustcmr.transport import sinkhorn_plan
        >>> half = torch.tensor([0.5, 0.5])
        >>> sinkhorn_plan(torch.eye(2), half, half, smoothing=0.1, iterations=3)
        tensor([[4.9998e-01, 2.2699e-05],
                [2.2699e-05, 4.9998e-01]])
    """
    dtype = torch.promote_types(similarity.dtype, torch.float32)
    present = (row_weights > 0).unsqueeze(-1) & (column_weights > 0).unsqueeze(-2)
    log_plan = torch.where(present, similarity.to(dtype) / smoothing, -math.inf)
    log_rows, log_columns = row_weights.to(dtype).log(), column_weights.to(dtype).log()
    for _ in range(iterations):
        log_plan = log_plan + _step(log_rows, log_plan.logsumexp(-1)).unsqueeze(-1)
        log_plan = log_plan + _step(log_columns, log_plan.logsumexp(-2)).unsqueeze(-2)
    return log_plan.exp()


def _step(target: Tensor, current: Tensor) -> Tensor:
    """Return target - current, and 0 where a row or column has no cell left."""
    return torch.where(current > -math.inf, target - current, 0.0)
