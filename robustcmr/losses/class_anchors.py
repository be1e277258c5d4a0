"""Losses against class anchors and between the two vectors of an instance, robust to wrong labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def anchor_probabilities(vectors: Tensor, anchors: Tensor, temperature: float) -> Tensor:
    """How likely each vector belongs to each class, by its similarity to the anchors.

    Args:
        vectors: (B, D) of length 1.
        anchors: (K, D) of length 1, one a class.
        temperature: > 0, in units of the cosine.

    Returns:
        (B, K), rows summing to 1.
    """
    return torch.softmax(vectors @ anchors.T / temperature, dim=1)


def anchor_cross_entropy(vectors: Tensor, anchors: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Cross entropy of each vector's class probabilities.

    Args:
        vectors: (B, D) of length 1.
        anchors: (K, D) of length 1.
        targets: (B, K) >= 0, rows summing to 1.
        temperature: > 0.

    Returns:
        (B,), at least 0.
    """
    return -(targets * F.log_softmax(vectors @ anchors.T / temperature, dim=1)).sum(1)


def robust_clustering(vectors: Tensor, anchors: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Logarithm of the probability of all other classes, which is small where the vector is near its anchor.

    Its gradient grows with the probability of the target, unlike that of the cross entropy: what the model
    finds unlikely, such as a wrong label, counts little.

    Args:
        vectors: (B, D) of length 1.
        anchors: (K, D) of length 1.
        targets: (B, K) >= 0, rows summing to 1; soft targets average the classes' losses.
        temperature: > 0; at 1 no probability reaches 1, so that the loss stays bounded.

    Returns:
        (B,), at most 0.

    References:
        Hu et al., "Learning Cross-Modal Retrieval with Noisy Labels", CVPR 2021, the robust clustering loss.
    """
    log_probabilities = F.log_softmax(vectors @ anchors.T / temperature, dim=1)  # (B, K)
    # log(1 - p) without cancellation where p is near 1
    others = torch.log(-torch.expm1(log_probabilities.clamp(max=-1e-7)))
    return (targets * others).sum(1)


def multimodal_contrast(images: Tensor, texts: Tensor, temperature: float) -> Tensor:
    """How badly an instance's two vectors are told from all other instances' of the batch.

    Each vector is compared with all 2 B of both sides, itself included, and should be nearest to the two of
    its own instance. No label is read.

    Args:
        images: (B, D) of length 1.
        texts: (B, D) of length 1; row i belongs to row i of the images.
        temperature: > 0, in units of the cosine.

    Returns:
        (B,), mean over the two vectors of an instance, at least 0.

    References:
        Hu et al., "Learning Cross-Modal Retrieval with Noisy Labels", CVPR 2021, the multimodal contrastive
        loss.
    """
    both = torch.cat([images, texts])  # (2B, D)
    logits = both @ both.T / temperature  # (2B, 2B)
    own = torch.stack([logits.diagonal(), logits.diagonal(len(images)).repeat(2)], dim=1)  # (2B, 2)
    losses = logits.logsumexp(1) - own.logsumexp(1)
    return losses.view(2, -1).mean(0)
