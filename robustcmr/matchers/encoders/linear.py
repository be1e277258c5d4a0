"""Regions to fragments: one linear map."""

from __future__ import annotations

from torch import nn

from robustcmr.matchers.encoders.pooling import masked_mean
from robustcmr.types import Fragments, ImageBatch


class LinearRegions(nn.Module):
    """Project each region by a linear map, as SCAN and SGRAF do.

    Args:
        feature_width: F, numbers a region.
        dim: D, width of a fragment.
    """

    def __init__(self, feature_width: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_width, dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: ImageBatch) -> Fragments:
        """Encode N images.

        Args:
            images: N images of at most R regions.

        Returns:
            Fragments (N, R, D), not normalised and zero where padded, and their mean (N, D).
        """
        features = self.linear(images.features) * images.mask.unsqueeze(-1)  # (N, R, D)
        return Fragments(features, images.mask, masked_mean(features, images.mask))
