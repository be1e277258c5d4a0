"""What a cell of a score matrix sees of its row and column: statistics of the other cells."""

from __future__ import annotations

import torch
from torch import Tensor

N_STATISTICS = 6


def cell_context(scores: Tensor, allowed: Tensor, temperature: float) -> Tensor:
    """Log-mean-exp, largest and mean of the other allowed cells of each cell's row and of its column.

    A cell's own score takes no part, not even by rounding: changing it leaves its statistics bit for bit.
    Where a cell has no others along one axis, those of the other axis stand in; where it has none at all, the
    statistics are 0.

    Args:
        scores: (n, m) finite float.
        allowed: (n, m) bool, cells that count.
        temperature: of the log-mean-exp, > 0, in units of the score.

    Returns:
        (6, n, m): log-mean-exp, largest and mean along the row, then along the column.
    """
    row, in_row = _others(scores, allowed, temperature)
    column, in_column = (x.transpose(-2, -1) for x in _others(scores.T, allowed.T, temperature))
    # Where nothing was found the statistics are 0 already.
    return torch.cat([torch.where(in_row, row, column), torch.where(in_column, column, row)])


def _others(scores: Tensor, allowed: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-mean-exp, largest and mean of each row without the cell, (3, n, m), and where there are any (n, m).

    All three are 0 where there are none.

    Sums over the others are products with a matrix of ones and a diagonal of zeros. Taking the cell's part
    away from the sum of the row would cost digits, and let the cell's own score in through the rounding.
    """
    n, m = scores.shape
    visible = torch.where(allowed, scores, -torch.inf)
    top = visible.topk(min(2, m), dim=1)
    first = top.values[:, :1]  # (n, 1)
    second = top.values[:, 1:] if m > 1 else torch.full_like(first, -torch.inf)  # (n, 1)
    is_first = torch.zeros_like(allowed).scatter(1, top.indices[:, :1], True)
    largest = torch.where(is_first, second, first)  # (n, m)
    found = largest > -torch.inf
    # Exponents are taken relative to the largest of the others: the second for the first, else the first.
    near_first = _exp_below(scores, first, allowed, temperature)
    near_second = _exp_below(scores, second, allowed & ~is_first, temperature)
    parts = torch.cat([torch.where(allowed, scores, 0.0), near_first, near_second, allowed.to(scores)])
    without_own = 1.0 - torch.eye(m, dtype=scores.dtype, device=scores.device)
    total, by_first, by_second, count = (parts @ without_own).view(4, n, m)
    count = torch.where(found, count, 1.0)
    share = torch.where(found, torch.where(is_first, by_second, by_first), 1.0) / count
    largest = torch.where(found, largest, 0.0)
    return torch.stack([largest + temperature * share.log(), largest, total / count]), found


def _exp_below(scores: Tensor, reference: Tensor, counted: Tensor, temperature: float) -> Tensor:
    """exp((scores - reference) / temperature) at counted cells, none above the reference, and 0 elsewhere."""
    return torch.where(
        counted, ((torch.where(counted, scores, reference) - reference) / temperature).exp(), 0.0
    )
