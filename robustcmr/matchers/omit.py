"""OMIT: score a pair by the optimal transport of its words onto its regions."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from robustcmr.matchers.encoders.layers import masked_mean, wide
from robustcmr.matchers.fragment_matcher import FragmentMatcher, FragmentOptions
from robustcmr.options import Options
from robustcmr.transport import pair_scores, sinkhorn_plan
from robustcmr.transport.pairwise import Backend
from robustcmr.types import Fragments


class OmitConfig(FragmentOptions):
    """Options of the OMIT matcher."""

    smoothing: float = Field(0.05, gt=0, description="Lambda, entropic smoothing of the transport.")
    iterations: int = Field(3, ge=1, description="T, scalings of rows and columns.")
    partial: Literal["none", "bins", "mass"] = Field(
        "none",
        description="What may stay unmatched: nothing (none), fragments assigned to a bin (bins), or a fixed "
        "share of the mass (mass).",
    )
    bin_mass: float = Field(0.2, gt=0, lt=1, description="Share of each side's mass held by its bin (bins).")
    bin_similarity: float = Field(
        -10.0,
        le=1,
        description="Similarity of the two bins; far below -1 forbids mass between them (bins, mass).",
    )
    mass: float = Field(0.8, gt=0, lt=1, description="Share of the mass to transport (mass).")
    marginals: Literal["uniform", "norm"] = Field(
        "uniform", description="Weight of a fragment: equal for all, or its norm before normalisation."
    )
    backend: Backend = Field(
        "auto",
        description="What computes scores: tensor operations, these fused by torch.compile (needs a C++ "
        "compiler), loops compiled by numba (CPU), or Triton kernels (NVIDIA GPU); auto takes the fastest "
        "at hand.",
    )

    @field_validator("backend", mode="before")
    @classmethod
    def _old_name(cls, value: object) -> object:
        return "numba" if value == "lanes" else value  # as written by version 0.1


class Omit(FragmentMatcher):
    """Regions and words matched by entropic optimal transport of cost 1 - cos.

    With similarities S (cosines) and plan P, the score of a pair is ``sum(S * P)``. After T iterations the
    column sums (words) are exact and the row sums (regions) approximate. Three variants:

    - ``none``: all mass is matched; the released formula.
    - ``bins``: each side gets a bin, the mean of its fragments, that holds ``bin_mass`` of its mass. A region
      closer to the caption's mean than to any word goes to the caption's bin. The score is the similarity
      between fragments over the mass between fragments. At convergence that mass is
      ``1 - 2 bin_mass + P[bin, bin]``, so the bins must repel each other: if mass could flow between them, no
      fragment would stay unmatched.
    - ``mass``: the share ``mass`` is transported between fragments; the rest of either side goes to a bin of
      similarity 0 to every fragment. The share is exact as T grows.

    Departures: the paper does not specify the bins' vectors, mass and similarity; ours are stated here and in
    the options. ``mass`` and marginals by norm are not in the released code.

    References:
        OMIT, arXiv 2603.14349.
    """

    Config: ClassVar[type[Options]] = OmitConfig
    config: OmitConfig

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Score every image with every caption, (N_images, N_texts); larger is closer."""
        left, left_weights = self._side(images)
        right, right_weights = self._side(texts)
        kind = torch.promote_types(left.dtype, right.dtype)
        if torch.is_autocast_enabled(left.device.type):
            kind = torch.get_autocast_dtype(left.device.type)
        scores: Tensor = pair_scores(
            left.to(kind),
            right.to(kind),
            left_weights,
            right_weights,
            smoothing=self.config.smoothing,
            iterations=self.config.iterations,
            corner=None if self.config.partial == "none" else self.config.bin_similarity,
            backend=self.config.backend,
        )
        return scores

    def plan(self, images: Fragments, texts: Fragments) -> Tensor:
        """Return the transport plan of image i with caption i.

        Args:
            images: N images.
            texts: N captions.

        Returns:
            (N, R, W) mass moved between regions and words, without bins.
        """
        left, left_weights = self._side(images)
        right, right_weights = self._side(texts)
        similarity = torch.einsum("nrd,nwd->nrw", left, right)  # bins add one row and one column
        if self.config.partial != "none":
            similarity[:, -1, -1] = self.config.bin_similarity
        plan = sinkhorn_plan(
            similarity,
            left_weights,
            right_weights,
            smoothing=self.config.smoothing,
            iterations=self.config.iterations,
        )
        return plan if self.config.partial == "none" else plan[:, :-1, :-1]

    def _side(self, side: Fragments) -> tuple[Tensor, Tensor]:
        """Return unit fragments (N, L, D) and their weights (N, L), at least float32; bins add one to L."""
        features = wide(side.features)
        weights = side.mask.to(features.dtype)
        if self.config.marginals == "norm":
            weights = weights * torch.linalg.vector_norm(features, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        if self.config.partial == "bins":
            pooled = masked_mean(features, side.mask) if side.pooled is None else side.pooled
            features = torch.cat([features, pooled.unsqueeze(1).to(features.dtype)], 1)
            kept = 1.0 - self.config.bin_mass
            weights = F.pad(weights * kept, (0, 1), value=self.config.bin_mass)
        elif self.config.partial == "mass":
            features = F.pad(features, (0, 0, 0, 1))
            weights = F.pad(weights, (0, 1), value=1.0 - self.config.mass)
        return F.normalize(features, dim=-1), weights
