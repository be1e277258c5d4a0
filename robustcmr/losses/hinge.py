"""Triplet hinge over the negatives of a batch.

[m_i - s_ii + s_ij]+  and  [m_i - s_ii + s_ji]+,  j != i,  summed over j or only the largest of each.

The margin m_i belongs to the pair whose score it protects: it is constant along row i where image i is held
against other captions, and along column i where caption i is held against other images.

Any score matrix will do, as a tensor or a NumPy array. Gradients reach the scores; values have their type, on
their device. Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import no_negatives
from robustcmr.losses.fusing import fusible

_BASE = 10.0


@takes_arrays("margin")
@fusible
def hinge_loss(
    scores: Tensor,
    margin: float | Tensor = 0.2,
    hardest: bool = True,
    same_image: Tensor | None = None,
    most: int | None = None,
) -> Tensor:
    """Return the hinge of every pair against the other captions and images of the batch.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        margin: m > 0, required distance between the pair and a negative, in units of the score; 0.2 suits
            cosines. Or (B,) >= 0, one a pair.
        hardest: take the largest hinge of each direction instead of the sum.
        same_image: (B, B) bool, cells that are no negatives; the diagonal never is.
        most: k >= 1, take the sum of the k largest hinges of each direction, divided by k, and disregard
            ``hardest``; where there are fewer negatives, the missing ones count as 0.

    Returns:
        (B,) sum of both directions, in the type and on the device of the scores, with their gradient.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.8], [0.1, 0.5]])
        >>> hinge_loss(scores, margin=0.2, hardest=True)
        tensor([0.1000, 0.5000])
        >>> hinge_loss(scores, margin=torch.tensor([0.2, 0.0]))
        tensor([0.1000, 0.3000])

    References:
        Faghri et al., VSE++, BMVC 2018, equations 4 and 6; Huang et al., NCR, NeurIPS 2021, for a margin a
        pair; Qin et al., DECL, ACM MM 2022, for ``most``. Departure: code released with NCR, BiCro and others
        puts the margins of one of the two directions on the wrong pair.
    """
    excluded, pair = no_negatives(scores, same_image), scores.diagonal()
    of_rows, of_columns = _margins(margin, scores)
    against_captions = (of_rows - pair[:, None] + scores).clamp(min=0).masked_fill(excluded, 0.0)  # (B, B)
    against_images = (of_columns - pair[None, :] + scores).clamp(min=0).masked_fill(excluded, 0.0)  # (B, B)
    if most is not None:
        if most < 1:
            raise ValueError(f"most is {most}; expected at least 1 negative, such as most=5")
        k = min(most, len(scores))
        return (against_captions.topk(k, dim=1)[0].sum(1) + against_images.topk(k, dim=0)[0].sum(0)) / most
    if hardest:
        return against_captions.amax(dim=1) + against_images.amax(dim=0)
    return against_captions.sum(dim=1) + against_images.sum(dim=0)


def _margins(margin: float | Tensor, scores: Tensor) -> tuple[float | Tensor, float | Tensor]:
    """The margin for rows and for columns: a number as it is, or (B, 1) and (1, B)."""
    if not isinstance(margin, Tensor) or margin.ndim == 0:
        return margin, margin
    if margin.shape != scores.shape[:1]:
        raise ValueError(
            f"margin must be a number or ({len(scores)},), one a pair, got {tuple(margin.shape)}; "
            "a matrix would mix the margins of different pairs"
        )
    given = margin.to(scores)
    return given[:, None], given[None, :]


@takes_arrays("margin")
def soft_margin(margin: float, belief: Tensor) -> Tensor:
    """Return a margin a pair that grows from 0 to ``margin`` with the belief that the pair is right.

    m (10^y - 1) / 9: half a belief gives a quarter of the margin.

    Args:
        margin: m > 0, margin of a pair that is surely right, in units of the score.
        belief: (B,) float in 0..1, the corrected correspondence y.

    Returns:
        (B,) in 0..m, at least float32, on the device of the belief.

    Example:
        >>> import torch
        >>> soft_margin(0.2, torch.tensor([0.0, 0.5, 1.0]))
        tensor([0.0000, 0.0481, 0.2000])

    References:
        Huang et al., NCR, NeurIPS 2021, soft margin with its base of 10.
    """
    y = belief.to(torch.promote_types(belief.dtype, torch.float32))
    found: Tensor = margin * (torch.pow(_BASE, y) - 1) / (_BASE - 1)
    return found
