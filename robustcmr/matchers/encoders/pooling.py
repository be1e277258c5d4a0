"""One vector for a set of fragments."""

from __future__ import annotations

from torch import Tensor


def masked_mean(features: Tensor, mask: Tensor) -> Tensor:
    """Mean of the real fragments.

    Args:
        features: (N, L, D) float.
        mask: (N, L) bool, True where a fragment is real.

    Returns:
        (N, D), zero where a set has no real fragment.
    """
    real = mask.unsqueeze(-1)
    return features.masked_fill(~real, 0.0).sum(1) / real.sum(1).clamp(min=1)
