"""SGRAF: pairs are compared by vectors of similarity, reasoned over as a graph (SGR) or filtered (SAF)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from robustcmr.matchers.encoders import FragmentOptions
from robustcmr.matchers.fragment_matcher import FragmentMatcher
from robustcmr.matchers.similarity.global_attention import GlobalAttention
from robustcmr.matchers.similarity.heads import AttentionHead, GraphHead, Head
from robustcmr.matchers.similarity.tiles import Maps, tiled_scores
from robustcmr.matchers.similarity.vectors import MOST_SMOOTH, unit
from robustcmr.options import Options
from robustcmr.types import DataSpec, Fragments, ImageBatch, TextBatch


class SgrafOptions(FragmentOptions):
    """Options that SGR and SAF share."""

    image_encoder: Literal["regions", "linear", "clip"] = Field(
        "linear",
        description="linear: a linear map, as in the paper; regions: with a small network added; clip: the "
        "patches of CLIP's vision model, from pictures.",
    )
    sim_dim: int = Field(64, ge=1, description="K, width of a similarity vector; the paper has 256.")
    smooth: float = Field(
        9.0, gt=0, le=MOST_SMOOTH, description="Factor before the softmax of words over regions."
    )
    attention_dropout: float = Field(
        0.4, ge=0.0, lt=1.0, description="Dropout inside the attention that makes the vectors of the wholes."
    )
    region_norm: Literal["channel", "position"] = Field(
        "channel",
        description="What is normalised in the images' attention: channels over all real regions, or "
        "positions as in the released code, for images of exactly n_regions regions.",
    )


class SgrConfig(SgrafOptions):
    """Options of the SGR matcher."""

    steps: int = Field(3, ge=1, description="Steps of reasoning.")


class SafConfig(SgrafOptions):
    """Options of the SAF matcher."""


class SimilarityEncoder(nn.Module):
    """What SGR and SAF share: vectors of the wholes, similarity vectors, and their map to a score.

    Args:
        options: widths and dropout.
        n_regions: regions of an image, for ``region_norm=position``.
    """

    def __init__(self, options: SgrafOptions, n_regions: int) -> None:
        super().__init__()
        dim, dropout = options.dim, options.attention_dropout
        self.smooth = options.smooth
        self.image_attention = GlobalAttention(dim, dropout, options.region_norm, n_regions, "regions")
        self.text_attention = GlobalAttention(dim, dropout, "none", what="words")
        self.local = xavier_linear(dim, options.sim_dim)
        self.whole = xavier_linear(dim, options.sim_dim)
        self.evaluate = xavier_linear(options.sim_dim, 1)

    def fragments(self, side: Fragments, attention: GlobalAttention) -> Fragments:
        """The same fragments with length 1, at least float32, and the vector of the whole as ``pooled``."""
        features = side.features.to(torch.promote_types(side.features.dtype, torch.float32))
        features = unit(features * side.mask.unsqueeze(-1))
        return Fragments(features, side.mask, attention(features, side.mask))

    def scores(
        self,
        images: Fragments,
        texts: Fragments,
        head: Head,
        weights: Sequence[Tensor],
        moments: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Scores (N_images, N_texts) of fragments made by ``fragments``, and the moments the head used."""
        if images.pooled is None or texts.pooled is None:
            raise ValueError("fragments lack a pooled vector; score what encode_images and encode_texts made")
        kind = torch.promote_types(images.features.dtype, texts.features.dtype)
        device = images.features.device.type
        if torch.is_autocast_enabled(device):
            kind = torch.get_autocast_dtype(device)
        lengths = texts.mask.sum(1)
        order = torch.argsort(lengths, descending=True, stable=True)
        mask = texts.mask[order]
        scores, used = tiled_scores(
            images.features.to(kind).masked_fill(~images.mask.unsqueeze(-1), 0.0),  # so that none looks there
            texts.features[order][mask].to(kind),
            lengths[order].tolist(),
            images.pooled.to(kind),
            texts.pooled[order].to(kind),
            Maps(self.local.weight, self.local.bias, self.whole.weight, self.whole.bias),
            head,
            [*weights, self.evaluate.weight, self.evaluate.bias],
            smooth=self.smooth,
            moments=moments,
        )
        return scores[:, torch.argsort(order)], used


class GraphStep(nn.Module):
    """One step of similarity graph reasoning.

    Args:
        sim_dim: K, width of a similarity vector.
    """

    def __init__(self, sim_dim: int) -> None:
        super().__init__()
        self.query = xavier_linear(sim_dim, sim_dim)
        self.key = xavier_linear(sim_dim, sim_dim, bias=False)
        self.graph = xavier_linear(sim_dim, sim_dim)

    def merged(self) -> list[Tensor]:
        """Its weights as :class:`GraphHead` wants them; queries and keys are one map of a node to another."""
        with torch.autocast(self.query.weight.device.type, enabled=False):
            key = self.key.weight.T
            return [key @ self.query.weight, key @ self.query.bias, self.graph.weight, self.graph.bias]


class Sgr(FragmentMatcher):
    """Similarity graph reasoning.

    A pair has one similarity vector for image and caption as wholes and one for every word with what it
    looks at; they are nodes of a graph that reason together, and the first gives the score in 0..1.

    Departures: the released code normalises the regions' part of the images' attention by position in the
    image; ours, unless ``region_norm=position``, by channel over real regions, so that neither padding nor
    the order of regions changes a score. Biases that cannot change a score are left out: of keys, of the
    softmax in the attention of wholes, and before a batch norm of the same channels.

    References:
        Diao et al., "Similarity Reasoning and Filtration for Image-Text Matching", AAAI 2021.
    """

    Config: ClassVar[type[Options]] = SgrConfig

    def __init__(self, config: SgrConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config = config
        self.similarity = SimilarityEncoder(config, spec.n_regions)
        self.steps = nn.ModuleList(GraphStep(config.sim_dim) for _ in range(config.steps))

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N images into regions (N, R, D) of length 1 and the vectors of the wholes (N, D)."""
        return self.similarity.fragments(super().encode_images(images), self.similarity.image_attention)

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N captions into words (N, W, D) of length 1 and the vectors of the wholes (N, D)."""
        return self.similarity.fragments(super().encode_texts(texts), self.similarity.text_attention)

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Scores (N_images, N_texts) in 0..1 of fragments that ``encode_*`` made."""
        steps = cast("Iterable[GraphStep]", self.steps)
        weights = [tensor for step in steps for tensor in step.merged()]
        return self.similarity.scores(images, texts, GraphHead(), weights)[0]


class Saf(FragmentMatcher):
    """Similarity attention filtration.

    A pair has one similarity vector for image and caption as wholes and one for every word with what it
    looks at; learned gates decide how much each counts in their sum, which gives the score in 0..1.

    Departures: those of :class:`Sgr`; and in training the gates are normalised by the statistics of all real
    nodes of all pairs of the batch, where the released code takes those of one caption with all images.

    References:
        Diao et al., "Similarity Reasoning and Filtration for Image-Text Matching", AAAI 2021.
    """

    Config: ClassVar[type[Options]] = SafConfig
    pairwise = False  # the gates' statistics are those of all pairs

    def __init__(self, config: SafConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config = config
        self.similarity = SimilarityEncoder(config, spec.n_regions)
        self.gate = xavier_linear(config.sim_dim, 1, bias=False)
        self.gate_norm = nn.BatchNorm1d(1)

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Encode N images into regions (N, R, D) of length 1 and the vectors of the wholes (N, D)."""
        return self.similarity.fragments(super().encode_images(images), self.similarity.image_attention)

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Encode N captions into words (N, W, D) of length 1 and the vectors of the wholes (N, D)."""
        return self.similarity.fragments(super().encode_texts(texts), self.similarity.text_attention)

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Scores (N_images, N_texts) in 0..1 of fragments that ``encode_*`` made."""
        norm, moments = self.gate_norm, None
        if not self.training:
            mean, variance = cast(Tensor, norm.running_mean).double(), cast(Tensor, norm.running_var).double()
            moments = torch.cat([mean, variance + mean * mean])
        weights = [self.gate.weight, norm.weight, norm.bias]
        scores, used = self.similarity.scores(images, texts, AttentionHead(norm.eps), weights, moments)
        if self.training and used is not None:
            self._remember(used, len(images) * int(texts.mask.sum() + len(texts)))
        return scores

    def _remember(self, moments: Tensor, n_nodes: int) -> None:
        """Move the running statistics towards those of one batch, as batch norm does."""
        norm, mean = self.gate_norm, moments[0]
        variance = (moments[1] - mean * mean) * (n_nodes / (n_nodes - 1))
        momentum = cast(float, norm.momentum)
        for kept, new in ((norm.running_mean, mean), (norm.running_var, variance)):
            kept = cast(Tensor, kept)
            kept.lerp_(new.to(kept.dtype), momentum)
        cast(Tensor, norm.num_batches_tracked).add_(1)


def xavier_linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A linear map with Xavier's uniform weights and zero bias, as the released code starts."""
    linear = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
