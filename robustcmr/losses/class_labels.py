"""Losses of class probabilities and labels: bounded, self-paced and linear, and of pairs of one class.

    cross entropy and MAE    g(p) = (1 - q) (1 - p^q) / q + q (1 - p)
    self-paced               w L + gamma (w^2 / 2 - w),  w = max(0, 1 - L / gamma)
    absolute error           sum_k abs(y_k - p_k)
    distance                 length of a - b
    likelihood               log(1 + exp(T)) - [same class] T,  T = a . b / 2

Arguments may be tensors or NumPy arrays. Gradients reach all but weights; values have the arguments' type, on
their device, one a pair.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.arrays import takes_arrays


@takes_arrays("q")
def bounded_cross_entropy(log_probabilities: Tensor, q: float) -> Tensor:
    """Return g(p), between the cross entropy (q near 0) and the mean absolute error (q = 1).

    It is at most (1 - q) / q + q, so that no single pair can pull without end.

    Args:
        log_probabilities: log p, (B,) <= 0, of the given class or pair.
        q: in (0, 1].

    Returns:
        (B,), at least 0.

    Raises:
        ValueError: q is not in (0, 1].

    Example:
        >>> import torch
        >>> bounded_cross_entropy(torch.tensor([0.5, 0.9]).log(), q=1.0)
        tensor([0.5000, 0.1000])

    References:
        RSHNL, AAAI 2025, released code; Zhang and Sabuncu, NeurIPS 2018, for (1 - p^q) / q.
    """
    if not 0 < q <= 1:
        raise ValueError(f"q is {q:g}; expected a number in (0, 1], such as q=0.01")
    power = -torch.expm1(q * log_probabilities)  # 1 - p^q without cancellation where p is near 1
    return (1 - q) / q * power + q * -torch.expm1(log_probabilities)


@takes_arrays("gamma")
def self_paced_weights(losses: Tensor, gamma: float) -> Tensor:
    """Return w, which falls from 1 to 0 where the loss reaches gamma; detached.

    Args:
        losses: L, (B,) >= 0.
        gamma: > 0, the loss of a pair from which on it is left out.

    Returns:
        (B,) in 0..1.

    Example:
        >>> import torch
        >>> self_paced_weights(torch.tensor([0.0, 1.0, 5.0]), gamma=4.0)
        tensor([1.0000, 0.7500, 0.0000])
    """
    return (1 - losses.detach() / gamma).clamp(min=0, max=1)


@takes_arrays("gamma")
def self_paced_loss(losses: Tensor, gamma: float) -> Tensor:
    """Return the loss of each pair by its weight, plus what a small weight costs.

    The weights are those of least total, so that they need no gradient.

    Args:
        losses: L, (B,) >= 0.
        gamma: > 0, as in :func:`self_paced_weights`.

    Returns:
        (B,), from -gamma / 2 (a loss of 0) to 0 (a loss of gamma or more).

    Example:
        >>> import torch
        >>> self_paced_loss(torch.tensor([0.0, 1.0, 5.0]), gamma=4.0)
        tensor([-2.0000, -1.1250,  0.0000])

    References:
        RSHNL, AAAI 2025, released code; Jiang et al., NeurIPS 2014, for the linear regulariser.
    """
    weights = self_paced_weights(losses, gamma)
    return weights * losses + gamma * (weights**2 / 2 - weights)


@takes_arrays()
def absolute_error(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of absolute differences of class probabilities and targets, 2 (1 - p_y) for a class y.

    Args:
        probabilities: p, (B, K) >= 0, rows summing to 1.
        targets: y, (B, K) >= 0, rows summing to 1.

    Returns:
        (B,) in 0..2.

    Example:
        >>> import torch
        >>> absolute_error(torch.tensor([[0.75, 0.25]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.5000])

    References:
        Ghosh et al., "Robust Loss Functions under Label Noise for Deep Neural Networks", AAAI 2017.
    """
    return (probabilities - targets).abs().sum(1)


@takes_arrays()
def row_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the Euclidean distance of each row of one matrix to the same row of another, not squared.

    Args:
        first: (B, D), such as logits, or vectors of images.
        second: (B, D), such as targets, or vectors of texts.

    Returns:
        (B,), at least 0; equal rows have the gradient 0.

    Example:
        >>> import torch
        >>> row_distance(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]]))
        tensor([5.])

    References:
        Zhen et al., DSCMR, CVPR 2019, released code; the paper's terms are Frobenius norms of the batch.
    """
    distances: Tensor = torch.linalg.vector_norm(first - second, dim=1)
    return distances


@takes_arrays()
def same_class_likelihood(first: Tensor, second: Tensor, same: Tensor) -> Tensor:
    """Return the negative log-likelihood that vectors are of one class where they are, given their cosines.

    Args:
        first: (B, D) of length 1.
        second: (B, D) of length 1.
        same: (B, B) in 0..1, 1 where row i of ``first`` and row j of ``second`` are of one class.

    Returns:
        (B,), mean over the rows of ``second``.

    Example:
        >>> import torch
        >>> same_class_likelihood(torch.eye(2), torch.eye(2), torch.eye(2))
        tensor([0.5836, 0.5836])

    References:
        Zhen et al., DSCMR, CVPR 2019, released code.
    """
    logits = first @ second.T / 2  # (B, B)
    return (F.softplus(logits) - same * logits).mean(1)
