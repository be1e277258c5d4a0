"""Losses of a score matrix against soft targets in both directions.

With p = softmax of a row or column of scores / tau over its allowed cells, and t its target:

    soft cross entropy       -sum t log p
    symmetric cross entropy  -sum t log p - sum p log(t + floor)
    symmetric KL             KL(t | p) + KL(p | t) = sum (t - p) (log t - log p)

Any score matrix will do, as a tensor or a NumPy array. Gradients reach the scores, and targets that are not
detached. Values are at least float32, on the scores' device. Shapes that do not fit and numbers out of range
raise ``ValueError``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import allowed_mask
from robustcmr.losses.fusing import fusible


@takes_arrays("temperature", "floor")
@fusible
def symmetric_kl_loss(
    scores: Tensor,
    targets_rows: Tensor,
    targets_columns: Tensor,
    temperature: float = 0.05,
    allowed: Tensor | None = None,
    floor: float = 1e-7,
) -> tuple[Tensor, Tensor]:
    """Return the symmetric KL divergence of every row and column.

    KL(p | t) is unbounded where t = 0, so ``floor`` is added to every allowed target before it is normalised
    again; a row of zeros becomes uniform. An allowed cell far from its target then costs up to -log(floor).

    Args:
        scores: (n, m) float, row = image, column = caption.
        targets_rows: (n, m) >= 0, target captions of each image; detached by the caller.
        targets_columns: (m, n) >= 0, target images of each caption; detached by the caller.
        temperature: tau > 0, in units of the score: 0.05 suits cosines, 1 suits logits.
        allowed: (n, m) bool, cells that take part in softmax and target; None for all.
        floor: > 0, added to every allowed target.

    Returns:
        (n,) and (m,), >= 0, 0 for a row or column without allowed cells; at least float32, on the
        device of the scores, with the gradients of scores and targets.

    Example:
        >>> import torch
        >>> rows, columns = symmetric_kl_loss(torch.zeros(2, 2), torch.eye(2), torch.eye(2), 1.0, floor=0.01)
        >>> rows
        tensor([2.2623, 2.2623])

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


@takes_arrays("temperature")
@fusible
def soft_cross_entropy_loss(
    scores: Tensor,
    targets_rows: Tensor,
    targets_columns: Tensor,
    temperature: float = 0.05,
    allowed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the cross entropy of every row and column to its target.

    For a target that sums to 1 it equals KL(t | p) plus the target's entropy. It needs no floor.

    Args:
        scores: (n, m) float, row = image, column = caption.
        targets_rows: (n, m) >= 0, target captions of each image; detached by the caller.
        targets_columns: (m, n) >= 0, target images of each caption; detached by the caller.
        temperature: tau > 0, in units of the score: 0.05 suits cosines, 1 suits logits.
        allowed: (n, m) bool, cells that take part in the softmax; targets elsewhere are ignored.

    Returns:
        (n,) and (m,), >= 0, 0 for a row or column without allowed cells; at least float32, on the
        device of the scores, with the gradients of scores and targets.

    Example:
        >>> import torch
        >>> rows, columns = soft_cross_entropy_loss(torch.eye(2), torch.eye(2), torch.eye(2), temperature=1.0)
        >>> rows
        tensor([0.3133, 0.3133])
    """
    both = []
    for log_p, targets, cells in _directions(scores, targets_rows, targets_columns, temperature, allowed):
        both.append(-(torch.where(cells, targets, 0.0) * log_p).sum(1))
    return both[0], both[1]


@takes_arrays("temperature", "floor")
@fusible
def symmetric_cross_entropy_loss(
    scores: Tensor,
    targets_rows: Tensor,
    targets_columns: Tensor,
    temperature: float = 0.05,
    allowed: Tensor | None = None,
    floor: float = 1e-7,
) -> tuple[Tensor, Tensor]:
    """Return the cross entropy of every row and column to its target, plus that of the target to it.

    The second term is at most -log(floor), which limits the pull of a wrong target. With one-hot targets the
    mean of rows and columns is ``robust_cross_entropy_loss``.

    Args:
        scores: (n, m) float, row = image, column = caption.
        targets_rows: (n, m) >= 0, target captions of each image; with their gradient unless detached.
        targets_columns: (m, n) >= 0, target images of each caption.
        temperature: tau > 0, in units of the score: 0.05 suits cosines, 1 suits logits.
        allowed: (n, m) bool, cells that take part in softmax and target; None for all.
        floor: > 0, added to every target inside the logarithm.

    Returns:
        (n,) and (m,), 0 for a row or column without allowed cells; at least float32, on the device of the
        scores, with the gradients of scores and targets.

    Example:
        >>> import torch
        >>> rows, _ = symmetric_cross_entropy_loss(torch.eye(2), torch.eye(2), torch.eye(2), 1.0, floor=0.01)
        >>> rows
        tensor([1.5445, 1.5445])

    References:
        Wang et al., Symmetric Cross Entropy, ICCV 2019, equation 6 with both weights 1.
    """
    both = []
    for log_p, targets, cells in _directions(scores, targets_rows, targets_columns, temperature, allowed):
        target = torch.where(cells, targets, 0.0)
        p = torch.where(cells, log_p.exp(), 0.0)
        both.append(-(target * log_p + p * (target + floor).log()).sum(1))
    return both[0], both[1]


def _directions(
    scores: Tensor,
    targets_rows: Tensor,
    targets_columns: Tensor,
    temperature: float,
    allowed: Tensor | None,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Log probabilities (0 where not allowed), targets and allowed cells, of both directions."""
    cells = allowed_mask(scores, allowed)
    n, m = scores.shape
    if targets_rows.shape != (n, m) or targets_columns.shape != (m, n):
        raise ValueError(
            f"scores of {n} images and {m} captions need targets ({n}, {m}) and ({m}, {n}), "
            f"got {tuple(targets_rows.shape)} and {tuple(targets_columns.shape)}"
        )
    logits = scores.to(torch.promote_types(scores.dtype, torch.float32)) / temperature
    return [
        (_masked_log_softmax(logits, cells), targets_rows.to(logits), cells),
        (_masked_log_softmax(logits.T, cells.T), targets_columns.to(logits), cells.T),
    ]


def _masked_log_softmax(logits: Tensor, cells: Tensor) -> Tensor:
    """Log softmax of each row over its allowed cells, 0 elsewhere; no gradient is ever NaN."""
    counted = cells | ~cells.any(1, keepdim=True)  # an empty row would give NaN; its values are dropped
    return torch.where(cells, torch.where(counted, logits, -torch.inf).log_softmax(1), 0.0)
