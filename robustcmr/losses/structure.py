"""Losses on the structure of a batch: scores that are symmetric, and sides whose items are alike.

With scores s, unit image vectors v and unit text vectors t:

    symmetry    mean_j (s_ij - s_ji)^2
    structure   mean_j (v_i . v_j - t_i . t_j)^2

Neither takes the given pair for a class, so neither needs a mask: two captions of one image should have the
same score with it, and be alike. Scores and vectors may be tensors or NumPy arrays. Gradients reach them;
values are at least float32, on their device. Shapes that do not fit raise ``ValueError``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.losses.checks import check_square


@takes_arrays()
def symmetry_loss(scores: Tensor) -> Tensor:
    """Return how far the scores of each pair with the others are from symmetric.

    Args:
        scores: (B, B) float, row = image, column = caption; pairs on the diagonal.

    Returns:
        (B,) one value a pair, >= 0, in squared units of the score.

    Example:
        >>> import torch
        >>> symmetry_loss(torch.tensor([[0.9, 0.8], [0.2, 0.5]]))
        tensor([0.1800, 0.1800])

    References:
        SPS, IJCAI 2025, symmetry term of strictly clean pairs.
    """
    check_square(scores)
    wide = _wide(scores)
    return (wide - wide.T).square().mean(1)


@takes_arrays()
def structure_loss(images: Tensor, texts: Tensor) -> Tensor:
    """Return how far the similarities of each image to the others are from those of its text.

    Args:
        images: v, (B, D) of length 1.
        texts: t, (B, E) of length 1; row i belongs to row i of the images.

    Returns:
        (B,) one value a pair, in 0..4.

    Example:
        >>> import torch
        >>> structure_loss(torch.eye(2), torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
        tensor([0.1800, 0.1800])

    References:
        SPS, IJCAI 2025, structure term of strictly clean pairs.
    """
    if images.ndim != 2 or texts.ndim != 2 or len(images) != len(texts):
        raise ValueError(
            "images and texts must be (B, D) and (B, E), one row a pair, "
            f"got {tuple(images.shape)} and {tuple(texts.shape)}"
        )
    v, t = _wide(images), _wide(texts)
    return (v @ v.T - t @ t.T).square().mean(1)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
