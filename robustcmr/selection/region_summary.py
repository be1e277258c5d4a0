"""Images as vectors of what their regions hold, without a model: means and mean squares of components."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robustcmr.types import ImageBatch

MEANS, SQUARES = 512, 64
_SIDE, _PATCH = 32, 8  # pixels of the small picture that stands for a larger one, and of its patches


class RegionSummary:
    """Summarise images by the principal components of their regions; a picture's regions are its patches.

    Args:
        sample: images whose regions give the components, the most important first.
    """

    def __init__(self, sample: ImageBatch) -> None:
        features, mask = _regions(sample)
        regions = features[mask].cpu().double()  # (M, F); some devices have neither float64 nor eigh
        centre = regions.mean(0)
        regions = regions - centre
        components = torch.linalg.eigh(regions.T @ regions).eigenvectors.flip(1)[:, :MEANS]
        self.centre = centre.float().to(features.device)
        self.components = components.float().to(features.device)  # (F, up to MEANS)

    def __call__(self, images: ImageBatch) -> Tensor:
        """Return the means, then the mean squares of the first ``SQUARES`` components, (N, Q) float32."""
        features, mask = _regions(images)
        share = mask.float() / mask.sum(1, keepdim=True)  # (N, R)
        centred = features - self.centre
        means = torch.einsum("nr,nrf->nf", share, centred) @ self.components
        squares = torch.einsum("nr,nrk->nk", share, (centred @ self.components[:, :SQUARES]).square())
        return torch.cat([means, squares], dim=1)


def _regions(images: ImageBatch) -> tuple[Tensor, Tensor]:
    """Features (N, R, F) float32 and mask (N, R)."""
    if images.features.ndim == 3:
        return images.features.float(), images.mask
    small = F.interpolate(images.features.float(), (_SIDE, _SIDE), mode="area")
    patches = F.unfold(small, _PATCH, stride=_PATCH).transpose(1, 2)  # (N, 16, 192)
    return patches, patches.new_ones(patches.shape[:2], dtype=torch.bool)
