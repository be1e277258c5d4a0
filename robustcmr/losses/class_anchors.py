"""Losses against class anchors, and between the image and text vector of a pair; robust to wrong labels.

With unit vectors z, unit anchors c_k and p_k = softmax_k(z . c_k / tau):

    cross entropy       -sum_k y_k log p_k
    robust clustering    sum_k y_k log(1 - p_k)
    contrast            -log of the softmax mass that a vector gives to the two vectors of its own pair

Vectors may be tensors or NumPy arrays. Gradients reach vectors and anchors; values have their type, on their
device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.arrays import takes_arrays


@takes_arrays("temperature")
def anchor_probabilities(vectors: Tensor, anchors: Tensor, temperature: float) -> Tensor:
    """Return p, the class probabilities of each vector.

    Args:
        vectors: z, (B, D) of length 1.
        anchors: c, (K, D) of length 1, one a class.
        temperature: tau > 0, in units of the cosine.

    Returns:
        (B, K), rows summing to 1.

    Example:
        >>> import torch
        >>> anchor_probabilities(torch.tensor([[1.0, 0.0]]), torch.eye(2), temperature=0.5)
        tensor([[0.8808, 0.1192]])
    """
    return torch.softmax(vectors @ anchors.T / temperature, dim=1)


@takes_arrays("temperature")
def anchor_cross_entropy(vectors: Tensor, anchors: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return the cross entropy of each vector's class probabilities.

    Args:
        vectors: (B, D) of length 1.
        anchors: (K, D) of length 1.
        targets: y, (B, K) >= 0, rows summing to 1.
        temperature: > 0.

    Returns:
        (B,), at least 0.

    Example:
        >>> import torch
        >>> anchor_cross_entropy(torch.eye(2), torch.eye(2), torch.eye(2), temperature=0.5)
        tensor([0.1269, 0.1269])
    """
    return -(targets * F.log_softmax(vectors @ anchors.T / temperature, dim=1)).sum(1)


@takes_arrays("temperature")
def robust_clustering(vectors: Tensor, anchors: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return the log probability of all classes but the target, low where a vector is near its anchor.

    The gradient grows with the target's probability, unlike that of the cross entropy: a class that the
    model finds unlikely, such as a wrong label, has little influence.

    Args:
        vectors: (B, D) of length 1.
        anchors: (K, D) of length 1.
        targets: y, (B, K) >= 0, rows summing to 1; soft targets average the classes' losses.
        temperature: > 0; at 1 no probability reaches 1, so the loss stays bounded.

    Returns:
        (B,), at most 0.

    Example:
        >>> import torch
        >>> robust_clustering(torch.eye(2), torch.eye(2), torch.eye(2), temperature=0.5)
        tensor([-2.1269, -2.1269])

    References:
        Hu et al., "Learning Cross-Modal Retrieval with Noisy Labels", CVPR 2021, robust clustering loss.
    """
    log_probabilities = F.log_softmax(vectors @ anchors.T / temperature, dim=1)  # (B, K)
    # log(1 - p) without cancellation where p is near 1
    others = torch.log(-torch.expm1(log_probabilities.clamp(max=-1e-7)))
    return (targets * others).sum(1)


@takes_arrays("temperature")
def multimodal_contrast(images: Tensor, texts: Tensor, temperature: float) -> Tensor:
    """Return how poorly a pair's two vectors are distinguished from the rest of the batch, without labels.

    Each vector is compared with all 2 B vectors, itself included.

    Args:
        images: (B, D) of length 1.
        texts: (B, D) of length 1; row i belongs to row i of the images.
        temperature: > 0, in units of the cosine.

    Returns:
        (B,), mean over the two vectors of a pair, at least 0.

    Example:
        >>> import torch
        >>> multimodal_contrast(torch.eye(2), torch.eye(2), temperature=0.5)
        tensor([0.1269, 0.1269])

    References:
        Hu et al., "Learning Cross-Modal Retrieval with Noisy Labels", CVPR 2021, multimodal contrastive loss.
    """
    return -contrast_log_probabilities(images, texts, temperature).mean(0)


@takes_arrays("temperature")
def contrast_log_probabilities(images: Tensor, texts: Tensor, temperature: float) -> Tensor:
    """Return the log of the softmax mass that each vector gives to its own pair, among all 2 B of the batch.

    Args:
        images: (B, D) of length 1.
        texts: (B, D) of length 1; row i belongs to row i of the images.
        temperature: > 0, in units of the cosine.

    Returns:
        (2, B) <= 0, of the images and of the texts.

    Example:
        >>> import torch
        >>> contrast_log_probabilities(torch.eye(2), torch.eye(2), temperature=0.5).exp()
        tensor([[0.8808, 0.8808],
                [0.8808, 0.8808]])
    """
    both = torch.cat([images, texts])  # (2B, D)
    logits = both @ both.T / temperature  # (2B, 2B)
    own = torch.stack([logits.diagonal(), logits.diagonal(len(images)).repeat(2)], dim=1)  # (2B, 2)
    return (own.logsumexp(1) - logits.logsumexp(1)).view(2, -1)
