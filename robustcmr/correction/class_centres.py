"""Centres of classes among image and text vectors, and classes that either modality supports."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.arrays import takes_arrays


@takes_arrays()
def class_means(images: Tensor, texts: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Return the mean of all images and texts that were given a class.

    Args:
        images: (N, D).
        texts: (N, D).
        labels: (N, M) int64 in 0..K-1, given classes; M = 1, or 2 where image and text have one each.
        n_classes: K.

    Returns:
        (K, D), 0 for a class given to none.

    Example:
        >>> import torch
        >>> images, texts = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [5.0]])
        >>> class_means(images, texts, torch.tensor([[0], [1]]), n_classes=2)
        tensor([[1.5000],
                [4.0000]])

    References:
        NIRNL, AAAI 2026; the released Sinkhorn barycentre with one support point is this mean.
    """
    vectors = torch.cat([images, texts])  # (2N, D)
    members = F.one_hot(torch.cat([labels[:, 0], labels[:, -1]]), n_classes).to(vectors)  # (2N, K)
    return members.T @ vectors / members.sum(0)[:, None].clamp(min=1)


@takes_arrays()
def either_probability(of_images: Tensor, of_texts: Tensor) -> Tensor:
    """Return 1 - (1 - p_v) (1 - p_t), high where at least one modality supports the class.

    Args:
        of_images: p_v, in 0..1, any shape.
        of_texts: p_t, the same shape.

    Example:
        >>> import torch
        >>> either_probability(torch.tensor([0.5, 0.0]), torch.tensor([0.5, 0.2]))
        tensor([0.7500, 0.2000])

    References:
        NIRNL, AAAI 2026.
    """
    return 1 - (1 - of_images) * (1 - of_texts)
