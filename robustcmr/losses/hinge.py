"""Triplet hinge over the negatives of a batch.

[m - s_ii + s_ij]+  and  [m - s_ii + s_ji]+,  j != i,  summed over j or only the largest of each.

Any score matrix will do, as a tensor or a NumPy array. Gradients reach the scores; values have their type, on
their device. Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import no_negatives
from robustcmr.losses.fusing import fusible


@takes_arrays("margin")
@fusible
def hinge_loss(
    scores: Tensor, margin: float = 0.2, hardest: bool = True, same_image: Tensor | None = None
) -> Tensor:
    """Return the hinge of every pair against the other captions and images of the batch.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        margin: m > 0, required distance between the pair and a negative, in units of the score; 0.2 suits
            cosines.
        hardest: take the largest hinge of each direction instead of the sum.
        same_image: (B, B) bool, cells that are no negatives; the diagonal never is.

    Returns:
        (B,) sum of both directions, in the type and on the device of the scores, with their gradient.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.8], [0.1, 0.5]])
        >>> hinge_loss(scores, margin=0.2, hardest=True)
        tensor([0.1000, 0.5000])

    References:
        Faghri et al., VSE++, BMVC 2018, equations 4 and 6.
    """
    excluded, pair = no_negatives(scores, same_image), scores.diagonal()
    against_captions = (margin - pair[:, None] + scores).clamp(min=0).masked_fill(excluded, 0.0)  # (B, B)
    against_images = (margin - pair[None, :] + scores).clamp(min=0).masked_fill(excluded, 0.0)  # (B, B)
    if hardest:
        return against_captions.amax(dim=1) + against_images.amax(dim=0)
    return against_captions.sum(dim=1) + against_images.sum(dim=0)
