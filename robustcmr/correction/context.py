"""Context of a cell in a score matrix: statistics of the other allowed cells of its row and its column.

For the row of cell (i, j), over allowed j' != j with n' of them:

    tau log (1/n' sum exp(s_ij' / tau)),   max s_ij',   1/n' sum s_ij'

The column likewise, which makes six.
"""

from __future__ import annotations

import torch
from torch import Tensor

N_STATISTICS = 6


def cell_context(scores: Tensor, allowed: Tensor, temperature: float) -> Tensor:
    """Return the six statistics of every cell.

    A cell's own score has no influence, not even by rounding. Where a cell has no others along one axis, the
    statistics of the other axis are used; where it has none at all, they are 0.

    Args:
        scores: (n, m) finite float.
        allowed: (n, m) bool, cells that count.
        temperature: tau > 0, in units of the score.

    Returns:
        (6, n, m): log-mean-exp, maximum and mean along the row, then along the column.
    """
    row, in_row = _others(scores, allowed, temperature)
    column, in_column = (x.transpose(-2, -1) for x in _others(scores.T, allowed.T, temperature))
    # statistics of an axis without other cells are 0 already
    return torch.cat([torch.where(in_row, row, column), torch.where(in_column, column, row)])


def _others(scores: Tensor, allowed: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Statistics of each row without the cell, (3, n, m), and where there are other cells, (n, m).

    Sums over the others are products with a matrix of ones with a zero diagonal: subtracting the cell from
    the sum of its row would cost digits and let its own score in by rounding.
    """
    n, m = scores.shape
    visible = torch.where(allowed, scores, -torch.inf)
    top = visible.topk(min(2, m), dim=1)
    first = top.values[:, :1]  # (n, 1)
    second = top.values[:, 1:] if m > 1 else torch.full_like(first, -torch.inf)  # (n, 1)
    is_first = torch.zeros_like(allowed).scatter(1, top.indices[:, :1], True)
    largest = torch.where(is_first, second, first)  # (n, m)
    found = largest > -torch.inf
    # exponents are relative to the largest of the others: the second for the first, else the first
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
