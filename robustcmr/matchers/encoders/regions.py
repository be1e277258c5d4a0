"""Regions to fragments: a linear map, or the map plus a small network."""

from __future__ import annotations

from torch import nn

from robustcmr.matchers.encoders.layers import masked_fragments, masked_mean, xavier
from robustcmr.types import Fragments, ImageBatch


class LinearRegions(nn.Module):
    """Project each region by a linear map, as SCAN and SGRAF do.

    Args:
        feature_width: F, numbers a region.
        dim: D, width of a fragment.
    """

    def __init__(self, feature_width: int, dim: int) -> None:
        super().__init__()
        self.linear = xavier(nn.Linear(feature_width, dim))

    def forward(self, images: ImageBatch) -> Fragments:
        """Encode N images into fragments (N, R, D), not normalised, zero where padded, and their means."""
        return masked_fragments(self.linear(images.features), images.mask)


class RegionEncoder(nn.Module):
    """Project each region by a linear map plus a two-layer network with batch norm.

    Only real regions are encoded, so padding changes neither fragments nor batch statistics.

    Args:
        feature_width: F, numbers a region.
        dim: D, width of a fragment.
        hidden: width of the network's hidden layer.

    References:
        Chen et al., "Learning the Best Pooling Strategy for Visual Semantic Embedding", 2021, section 4.1.
    """

    def __init__(self, feature_width: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_width, dim)
        self.network = nn.Sequential(
            nn.Linear(feature_width, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, dim),
        )
        xavier(self.linear)

    def forward(self, images: ImageBatch) -> Fragments:
        """Encode N images into fragments (N, R, D), not normalised, zero where padded, and their means."""
        mask = images.mask
        regions = images.features[mask]  # (V, F), the V real regions of the batch
        encoded = self.linear(regions) + self.network(regions)  # (V, D)
        features = encoded.new_zeros(*mask.shape, encoded.shape[-1])  # (N, R, D)
        features[mask] = encoded
        return Fragments(features, mask, masked_mean(features, mask))
