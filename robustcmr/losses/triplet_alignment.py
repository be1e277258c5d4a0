"""Triplet alignment loss (TAL): a triplet hinge with a smooth maximum over the negatives of a batch.

[m - s_ii + tau log sum_{j != i} exp(s_ij / tau)]+  and the same over images.

The smooth maximum is at least the largest negative and exceeds it by at most tau log(B - 1). So the loss is
an upper bound of the hinge with the hardest negative, and each negative's gradient is its softmax weight.

Any score matrix will do, as a tensor or a NumPy array. Gradients reach the scores. Values are at least
float32, on the scores' device. Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import no_negatives
from robustcmr.losses.fusing import fusible


@takes_arrays("margin", "temperature")
@fusible
def triplet_alignment_loss(
    scores: Tensor,
    margin: float = 0.1,
    temperature: float = 0.015,
    same_image: Tensor | None = None,
    joined: bool = False,
) -> Tensor:
    """Return the triplet alignment loss of every pair, sum of both directions.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        margin: m > 0, in units of the score.
        temperature: tau > 0, in units of the score; near 0 only the hardest negative counts.
        same_image: (B, B) bool, cells besides the diagonal that are no negatives.
        joined: take as the score of a pair the mean over its cells of the same image, with detached softmax
            weights, instead of its own cell. One wrong caption then counts for the pairs of its image.

    Returns:
        (B,) >= 0, 0 without negatives; at least float32, on the device of the scores, with their gradient.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.8], [0.1, 0.5]])
        >>> triplet_alignment_loss(scores, margin=0.2)
        tensor([0.1000, 0.5000])
        >>> triplet_alignment_loss(scores, margin=0.2, temperature=0.5)
        tensor([0.1000, 0.5000])

    References:
        Qin et al., Noisy-Correspondence Learning for Text-to-Image Person Re-identification (RDE), CVPR 2024,
        triplet alignment loss. Departure: there positives are all items of one identity, given by labels;
        here a pair's positive is itself unless ``joined``.
    """
    excluded = no_negatives(scores, same_image)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    total = scores.new_zeros(len(scores))
    for each, positives in ((scores, excluded), (scores.T, excluded.T)):
        pair = each.diagonal()
        if joined:
            weights = (each / temperature).masked_fill(~positives, -torch.inf).softmax(1).detach()
            pair = (weights * each).sum(1)
        alone = positives.all(1)  # a row without negatives would give NaN gradients
        logits = (each / temperature).masked_fill(positives & ~alone[:, None], -torch.inf)
        hinge = (margin - pair + temperature * logits.logsumexp(1)).clamp(min=0)
        total = total + hinge.masked_fill(alone, 0.0)
    return total
