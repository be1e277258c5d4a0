"""Pool a set of fragments into one vector."""

from __future__ import annotations

from torch import Tensor


def masked_mean(features: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the real fragments.

    Args:
        features: (N, L, D) float.
        mask: (N, L) bool, True for real fragments.

    Returns:
        (N, D), zero for a set without real fragments.
    """
    real = mask.unsqueeze(-1)
    return features.masked_fill(~real, 0.0).sum(1) / real.sum(1).clamp(min=1)
