"""Evidence against a given pair, low where image and caption fit.

With scores s, temperature tau, margin m and the negatives N_i of pair i in its batch:

    mean hinge      sum_{j in N_i} ([m - s_ii + s_ij]+ + [m - s_ii + s_ji]+) / |N_i|
    cross entropy   -(log softmax_j(s_ij / tau)_i + log softmax_j(s_ji / tau)_i) / 2
    of a mismatch   the same for image i + 1 and caption i, without the pairs really given

Any score matrix will do, as a tensor or a NumPy array: a batch, or all pairs at once. Gradients reach the
scores, though a division has none; values have their type, on their device. Shapes that do not fit and
numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.errors import ConfigError
from robustcmr.losses.checks import no_negatives
from robustcmr.losses.cross_entropy import infonce_loss
from robustcmr.losses.hinge import hinge_loss


@takes_arrays("margin")
def batch_hinge(scores: Tensor, margin: float = 0.2, same_image: Tensor | None = None) -> Tensor:
    """Return the hinge of every pair, averaged over the negatives of its batch in both directions.

    The mean, unlike the sum, does not depend on the batch size or on how often the pair's image occurs. To
    gather it over a training set, pass ``lambda scores, batch: batch_hinge(scores, 0.2, batch.same_image)``
    to the scorer.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.
        margin: m > 0, required distance between the pair and a negative, in units of the score; 0.2 suits
            cosines.
        same_image: (B, B) bool, symmetric, cells that are no negatives; the diagonal never is.

    Returns:
        (B,) mean hinge against captions plus mean hinge against images, in the type and on the device of the
        scores, with their gradient.

    Raises:
        ValueError: a shape does not fit.
        ConfigError: a pair has no negative in the batch.

    Example:
        >>> import torch
        >>> batch_hinge(torch.tensor([[0.9, 0.8], [0.1, 0.5]]), margin=0.2)
        tensor([0.1000, 0.5000])

    References:
        Han et al., L2RM, CVPR 2024, section 3.2.
    """
    n_negatives = (~no_negatives(scores, same_image)).sum(dim=1)  # (B,)
    if bool((n_negatives == 0).any()):
        raise ConfigError(
            f"{int((n_negatives == 0).sum())} of {len(scores)} pairs have no negative in their batch,"
            " expected another image for each; use a larger batch"
        )
    return hinge_loss(scores, margin, hardest=False, same_image=same_image) / n_negatives


@takes_arrays("temperature")
def batch_cross_entropy(
    scores: Tensor, temperature: float = 0.05, same_image: Tensor | None = None
) -> Tensor:
    """Return the cross entropy of every given pair of a batch, and of as many pairs mismatched on purpose.

    Caption i is mismatched with the image of pair i + 1. That pair's cross entropy is computed as if it had
    been given: among the same candidates, without the true partners of its image and caption.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal; B >= 2.
        temperature: tau > 0, in units of the score: 0.05 suits cosines, 1 suits logits.
        same_image: (B, B) bool, symmetric, cells that are no negatives; the diagonal never is.

    Returns:
        (B, 2), the given pair's and the mismatched pair's; the latter is NaN where both images are the
        same; leave these out of a reference.

    Example:
        >>> import torch
        >>> batch_cross_entropy(torch.eye(3), temperature=0.5)
        tensor([[0.2395, 0.6931],
                [0.2395, 0.6931],
                [0.2395, 0.6931]])
    """
    given = infonce_loss(scores, temperature, same_image)
    excluded = no_negatives(scores, same_image)
    logits = scores / temperature
    others = logits.masked_fill(excluded, -torch.inf)
    among_captions, among_images = others.logsumexp(dim=1), others.logsumexp(dim=0)
    captions = torch.arange(len(scores), device=scores.device)
    images = captions.roll(-1)
    mismatched = 0.5 * (among_captions[images] + among_images) - logits[images, captions]
    mismatched = mismatched.masked_fill(excluded[images, captions], torch.nan)
    return torch.stack([given, mismatched], dim=1)
