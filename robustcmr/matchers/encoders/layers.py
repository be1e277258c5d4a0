"""Small parts of encoders: linear maps and the mean of a set of fragments."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustcmr.types import Fragments


def xavier(linear: nn.Linear) -> nn.Linear:
    """Set Xavier uniform weights and zero bias, as released; a random bias would dominate unit inputs."""
    nn.init.xavier_uniform_(linear.weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear


def wide(values: Tensor) -> Tensor:
    """Cast to float32 or wider."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def masked_mean(features: Tensor, mask: Tensor) -> Tensor:
    """Return the mean (N, D) of the real fragments of (N, L, D), mask (N, L); zero for a set without any."""
    real = mask.unsqueeze(-1)
    return features.masked_fill(~real, 0.0).sum(1) / real.sum(1).clamp(min=1)


def last_fragment(features: Tensor, mask: Tensor) -> Tensor:
    """Return the last real fragment (N, D) of (N, L, D), mask (N, L); the first of a set without any."""
    last = (torch.arange(mask.shape[1], device=mask.device) * mask).amax(1)
    return features[torch.arange(len(last), device=mask.device), last]


def masked_fragments(features: Tensor, mask: Tensor) -> Fragments:
    """Return features (N, L, D) set to zero where padded, and their mean (N, D)."""
    features = features * mask.unsqueeze(-1)
    return Fragments(features, mask, masked_mean(features, mask))
