"""SGRAF: similarity vectors of a pair, reasoned over as a graph (SGR) or filtered by attention (SAF)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from robustcmr.matchers.encoders.layers import wide, xavier
from robustcmr.matchers.fragment_matcher import FragmentMatcher, FragmentOptions
from robustcmr.matchers.similarity.global_attention import GlobalAttention
from robustcmr.matchers.similarity.heads import AttentionHead, GraphHead, Head
from robustcmr.matchers.similarity.tiles import tiled_scores
from robustcmr.matchers.similarity.vectors import MOST_SMOOTH, unit
from robustcmr.options import Options
from robustcmr.types import DataSpec, Fragments, ImageBatch, TextBatch


class SgrafOptions(FragmentOptions):
    """Options that SGR and SAF share."""

    image_encoder: Literal["regions", "linear", "clip"] = Field(
        "linear",
        description="linear: a linear map, as in the paper; regions: a linear map plus a small network; "
        "clip: the patches of CLIP's vision model, from pictures.",
    )
    sim_dim: int = Field(64, ge=1, description="K, width of a similarity vector; the paper uses 256.")
    smooth: float = Field(
        9.0, gt=0, le=MOST_SMOOTH, description="Inverse temperature of the attention of words over regions."
    )
    attention_dropout: float = Field(
        0.4, ge=0.0, lt=1.0, description="Dropout in the attention that pools the global vectors."
    )
    region_norm: Literal["channel", "position"] = Field(
        "channel",
        description="Batch norm in the images' attention: by channel over real regions, or by position as "
        "released, which requires exactly n_regions regions an image.",
    )


class SgrConfig(SgrafOptions):
    """Options of the SGR matcher."""

    steps: int = Field(3, ge=1, description="Reasoning steps.")


class SafConfig(SgrafOptions):
    """Options of the SAF matcher."""


class SimilarityEncoder(nn.Module):
    """The part shared by SGR and SAF: global vectors, similarity vectors, and the map to a score."""

    def __init__(self, options: SgrafOptions, n_regions: int) -> None:
        super().__init__()
        dim, dropout = options.dim, options.attention_dropout
        self.smooth = options.smooth
        self.image_attention = GlobalAttention(dim, dropout, options.region_norm, n_regions, "regions")
        self.text_attention = GlobalAttention(dim, dropout, "none", what="words")
        self.local = xavier(nn.Linear(dim, options.sim_dim))
        self.whole = xavier(nn.Linear(dim, options.sim_dim))
        self.evaluate = xavier(nn.Linear(options.sim_dim, 1))

    def fragments(self, side: Fragments, attention: GlobalAttention) -> Fragments:
        """Return the fragments at unit norm, at least float32, with the global vector as ``pooled``."""
        features = unit(wide(side.features) * side.mask.unsqueeze(-1))
        return Fragments(features, side.mask, attention(features, side.mask))

    def scores(
        self,
        images: Fragments,
        texts: Fragments,
        head: Head,
        weights: Sequence[Tensor],
        moments: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the scores (N_images, N_texts) of encoded fragments, and the moments the head used."""
        if images.pooled is None or texts.pooled is None:
            raise ValueError(
                "fragments lack a pooled vector; score the results of encode_images and encode_texts"
            )
        kind = torch.promote_types(images.features.dtype, texts.features.dtype)
        device = images.features.device.type
        if torch.is_autocast_enabled(device):
            kind = torch.get_autocast_dtype(device)
        lengths = texts.mask.sum(1)
        order = torch.argsort(lengths, descending=True, stable=True)
        mask = texts.mask[order]
        scores, used = tiled_scores(
            # padding is zeroed so that no word attends to it
            images.features.to(kind).masked_fill(~images.mask.unsqueeze(-1), 0.0),
            texts.features[order][mask].to(kind),
            lengths[order].tolist(),
            images.pooled.to(kind),
            texts.pooled[order].to(kind),
            self.local,
            self.whole,
            head,
            [*weights, self.evaluate.weight, self.evaluate.bias],
            smooth=self.smooth,
            moments=moments,
        )
        return scores[:, torch.argsort(order)], used


class GraphStep(nn.Module):
    """One step of similarity graph reasoning."""

    def __init__(self, sim_dim: int) -> None:
        super().__init__()
        self.query = xavier(nn.Linear(sim_dim, sim_dim))
        self.key = xavier(nn.Linear(sim_dim, sim_dim, bias=False))
        self.graph = xavier(nn.Linear(sim_dim, sim_dim))

    def merged(self) -> list[Tensor]:
        """Return the weights for :class:`GraphHead`, with query and key merged into one map."""
        with torch.autocast(self.query.weight.device.type, enabled=False):
            key = self.key.weight.T
            return [key @ self.query.weight, key @ self.query.bias, self.graph.weight, self.graph.bias]


class Sgraf(FragmentMatcher):
    """Base of SGR and SAF: encodes unit fragments and global vectors."""

    def __init__(self, config: SgrafOptions, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.similarity = SimilarityEncoder(config, spec.n_regions)

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N images into unit regions (N, R, D) and global vectors (N, D)."""
        return self.similarity.fragments(super().encode_images(images), self.similarity.image_attention)

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N captions into unit words (N, W, D) and global vectors (N, D)."""
        return self.similarity.fragments(super().encode_texts(texts), self.similarity.text_attention)


class Sgr(Sgraf):
    """Similarity graph reasoning.

    A pair has a global similarity vector of image and caption, and a local one for every word and its
    attended regions. They are nodes of a graph; after the reasoning steps the global node gives the score in
    0..1.

    Departures: the released code normalises regions by position in the image; ours, unless
    ``region_norm=position``, by channel over real regions, so neither padding nor the order of regions
    changes a score. Biases without effect are dropped: of keys, of the softmax in the global attention, and
    before a batch norm of the same channels.

    References:
        Diao et al., "Similarity Reasoning and Filtration for Image-Text Matching", AAAI 2021.
    """

    Config: ClassVar[type[Options]] = SgrConfig

    def __init__(self, config: SgrConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.steps = nn.ModuleList(GraphStep(config.sim_dim) for _ in range(config.steps))

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Score fragments made by ``encode_*``, (N_images, N_texts) in 0..1."""
        steps = cast("Iterable[GraphStep]", self.steps)
        weights = [tensor for step in steps for tensor in step.merged()]
        return self.similarity.scores(images, texts, GraphHead(), weights)[0]


class Saf(Sgraf):
    """Similarity attention filtration.

    Nodes are those of :class:`Sgr`; learned gates weigh them in a sum, which gives the score in 0..1.

    Departures: those of :class:`Sgr`; in training, gates are normalised over all real nodes of all pairs of
    the batch, where the released code uses those of one caption with all images.

    References:
        Diao et al., "Similarity Reasoning and Filtration for Image-Text Matching", AAAI 2021.
    """

    Config: ClassVar[type[Options]] = SafConfig
    pairwise = False  # the gates are normalised over all pairs

    def __init__(self, config: SafConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.gate = xavier(nn.Linear(config.sim_dim, 1, bias=False))
        self.gate_norm = nn.BatchNorm1d(1)

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Score fragments made by ``encode_*``, (N_images, N_texts) in 0..1."""
        norm, moments = self.gate_norm, None
        running_mean, running_var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        if not self.training:
            mean, variance = running_mean.double(), running_var.double()
            moments = torch.cat([mean, variance + mean * mean])
        weights = [self.gate.weight, norm.weight, norm.bias]
        scores, used = self.similarity.scores(images, texts, AttentionHead(norm.eps), weights, moments)
        if self.training and used is not None:
            n_nodes = len(images) * int(texts.mask.sum() + len(texts))
            mean = used[0]
            variance = (used[1] - mean * mean) * (n_nodes / (n_nodes - 1))
            for kept, new in ((running_mean, mean), (running_var, variance)):  # as batch norm does
                kept.lerp_(new.to(kept.dtype), cast(float, norm.momentum))
            cast(Tensor, norm.num_batches_tracked).add_(1)
        return scores
