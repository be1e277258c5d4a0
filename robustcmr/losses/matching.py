"""Losses of a score matrix against soft targets: which captions each image goes with, and the reverse."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.losses.fusing import fusible


@fusible
def symmetric_kl_loss(
    scores: Tensor,
    targets_rows: Tensor,
    targets_columns: Tensor,
    temperature: float,
    allowed: Tensor | None = None,
    floor: float = 1e-7,
) -> tuple[Tensor, Tensor]:
    """KL(target | p) + KL(p | target) of every row and column, p the softmax of the scores.

    KL(p | target) has no bound where a target is 0. So ``floor`` is added to every allowed target, which is
    then made to sum to 1 again; a row of zeros becomes even. Each allowed cell far from its target then costs
    up to -log(floor).

    Args:
        scores: (n, m) float, row = image, column = caption.
        targets_rows: (n, m) >= 0, captions wanted by each image; detached by the caller.
        targets_columns: (m, n) >= 0, images wanted by each caption; detached by the caller.
        temperature: tau > 0, in units of the score.
        allowed: (n, m) bool, cells that take part in softmax and target; None for all.
        floor: what stands in for a target of 0, > 0.

    Returns:
        (n,) and (m,), >= 0, 0 for a row or column without allowed cells; at least float32.

    Raises:
        ValueError: if a shape does not fit.

    References:
        Han et al., L2RM, CVPR 2024.
    """
    both = []
    for log_p, targets, cells in _directions(scores, targets_rows, targets_columns, temperature, allowed):
        raised = torch.where(cells, targets + floor, 0.0)
        total = raised.sum(1, keepdim=True)
        raised = raised / torch.where(total > 0, total, 1.0)
        log_target = torch.where(cells, raised, 1.0).log()
        p = torch.where(cells, log_p.exp(), 0.0)
        both.append(((raised - p) * (log_target - log_p)).sum(1))
    return both[0], both[1]


@fusible
def soft_cross_entropy_loss(
    scores: Tensor,
    targets_rows: Tensor,
    targets_columns: Tensor,
    temperature: float,
    allowed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """-sum target log p of every row and column, p the softmax of the scores.

    Where a target sums to 1 this is KL(target | p) but for the target's entropy. It asks nothing of cells
    whose target is 0 beyond what the softmax does, so it needs no floor and lets the scores spread.

    Args:
        scores: (n, m) float, row = image, column = caption.
        targets_rows: (n, m) >= 0, captions wanted by each image; detached by the caller.
        targets_columns: (m, n) >= 0, images wanted by each caption; detached by the caller.
        temperature: tau > 0, in units of the score.
        allowed: (n, m) bool, cells that take part in the softmax; targets elsewhere are left out.

    Returns:
        (n,) and (m,), >= 0, 0 for a row or column without allowed cells; at least float32.

    Raises:
        ValueError: if a shape does not fit.
    """
    both = []
    for log_p, targets, cells in _directions(scores, targets_rows, targets_columns, temperature, allowed):
        both.append(-(torch.where(cells, targets, 0.0) * log_p).sum(1))
    return both[0], both[1]


def _directions(
    scores: Tensor,
    targets_rows: Tensor,
    targets_columns: Tensor,
    temperature: float,
    allowed: Tensor | None,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Log probabilities (0 where not allowed), targets and allowed cells, of both directions."""
    if scores.ndim != 2:
        raise ValueError(f"scores must be (n, m), got {tuple(scores.shape)}")
    n, m = scores.shape
    if targets_rows.shape != (n, m) or targets_columns.shape != (m, n):
        raise ValueError(
            f"scores of {n} images and {m} captions need targets ({n}, {m}) and ({m}, {n}), "
            f"got {tuple(targets_rows.shape)} and {tuple(targets_columns.shape)}"
        )
    if allowed is not None and (allowed.shape != scores.shape or allowed.dtype != torch.bool):
        raise ValueError(
            f"allowed must be bool of shape ({n}, {m}) like the scores, "
            f"got {allowed.dtype} of shape {tuple(allowed.shape)}"
        )
    logits = scores.to(torch.promote_types(scores.dtype, torch.float32)) / temperature
    cells = torch.ones_like(logits, dtype=torch.bool) if allowed is None else allowed
    return [
        (_masked_log_softmax(logits, cells), targets_rows.to(logits), cells),
        (_masked_log_softmax(logits.T, cells.T), targets_columns.to(logits), cells.T),
    ]


def _masked_log_softmax(logits: Tensor, cells: Tensor) -> Tensor:
    """Log softmax of each row over its allowed cells, 0 elsewhere; no gradient is ever NaN."""
    counted = cells | ~cells.any(1, keepdim=True)  # an empty row would give NaN; what it gives is dropped
    return torch.where(cells, torch.where(counted, logits, -torch.inf).log_softmax(1), 0.0)
