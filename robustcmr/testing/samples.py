"""Small made-up data: what a matcher is told of it, images, captions and training pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from robustcmr.matchers.base import Matcher
from robustcmr.options import Options
from robustcmr.types import DataSpec, Fragments, ImageBatch, IntArray, PairBatch, TextBatch

SPARE = 3
"""Places by which samples stay below the longest sizes of a spec, so that they can be padded further."""


def sample_spec(picture_size: tuple[int, int] | None = None, text_width: int | None = None) -> DataSpec:
    """What a matcher is told of the made-up data.

    Args:
        picture_size: (H, W) for a matcher that reads pictures; None for one that reads region features.
        text_width: numbers of a precomputed caption vector, or None for data without them.
    """
    words = ("<pad>", "<start>", "<end>", "<unk>", *(f"word{i}" for i in range(36)))
    pixels = picture_size is not None
    return DataSpec(
        feature_width=3 if pixels else 12,
        n_regions=1 if pixels else 8,
        vocabulary_size=len(words),
        longest_caption=10,
        words=words,
        picture_size=picture_size,
        text_width=text_width,
    )


def sample_images(spec: DataSpec, n: int, seed: int = 0) -> ImageBatch:
    """N images: pixels, or sets of regions with gaps between them, as training leaves when it drops some.

    Args:
        spec: what the matcher is told.
        n: number of images; the first has all its regions.
        seed: another seed, other images.
    """
    generator = torch.Generator().manual_seed(seed)
    if spec.picture_size is not None:
        pixels = torch.randn(n, 3, *spec.picture_size, generator=generator)
        return ImageBatch(pixels, torch.ones(n, 1, dtype=torch.bool))
    regions = max(1, spec.n_regions - SPARE)
    mask = torch.rand(n, regions, generator=generator) < 0.7  # (N, R)
    mask[torch.arange(n), torch.randint(regions, (n,), generator=generator)] = True
    mask[0] = True
    features = torch.randn(n, regions, spec.feature_width, generator=generator)
    return ImageBatch(features * mask.unsqueeze(-1), mask)


def sample_texts(spec: DataSpec, n: int, seed: int = 0) -> TextBatch:
    """N captions of different lengths, the first the longest and the last of one word.

    Args:
        spec: what the matcher is told.
        n: number of captions.
        seed: another seed, other captions.
    """
    generator = torch.Generator().manual_seed(seed)
    longest = max(1, spec.longest_caption - SPARE)
    lengths = torch.randint(1, longest + 1, (n, 1), generator=generator)
    lengths[-1], lengths[0] = 1, longest
    mask = torch.arange(longest) < lengths  # (N, W)
    known = torch.tensor([i for i in range(spec.vocabulary_size) if i != spec.padding_index])
    tokens = known[torch.randint(len(known), mask.shape, generator=generator)]
    tokens = tokens.masked_fill(~mask, spec.padding_index)
    vectors = None if spec.text_width is None else torch.randn(n, spec.text_width, generator=generator)
    return TextBatch(tokens, mask, vectors)


class Sample(ABC):
    """Training pairs made up for a method, and what it is built with.

    Attributes:
        spec: what a matcher is told of them.
    """

    spec: DataSpec

    in_memory = True
    """Nothing is read from a disk."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of pairs."""

    @abstractmethod
    def batch(self, pair_ids: IntArray, generator: np.random.Generator | None = None) -> PairBatch:
        """Some pairs; with a generator they are augmented."""

    @abstractmethod
    def matcher(self) -> Matcher:
        """A fresh matcher that learns from them."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """What a method is built with behind the number of pairs and the batch size, by name."""
        return {}


class SamplePairs(Sample):
    """Training pairs that are easily learnt: captions name the kinds of region their image shows.

    A quarter of the captions is given a wrong image. Nothing says which.

    Args:
        n_images: number of images, four captions each.
        seed: another seed, other pairs.
    """

    spec = sample_spec()

    def __init__(self, n_images: int = 25, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        width, kinds = self.spec.feature_width, self.spec.vocabulary_size - 4
        prototypes = generator.normal(size=(kinds, width))
        shown = np.stack([generator.choice(kinds, 4, replace=False) for _ in range(n_images)])  # (n, 4)
        noise = 0.1 * generator.normal(size=(n_images, 4, width))
        self._features = (prototypes[shown] + noise).astype(np.float32)
        own = np.repeat(np.arange(n_images, dtype=np.int64), 4)  # (N,)
        self._tokens = np.stack([generator.permutation(shown[image])[:3] + 4 for image in own])
        wrong = generator.choice(len(own), len(own) // 4, replace=False)
        self._given = own.copy()
        self._given[wrong] = np.roll(own[wrong], 1)

    def __len__(self) -> int:
        return len(self._given)

    def batch(self, pair_ids: IntArray, generator: np.random.Generator | None = None) -> PairBatch:
        """Some pairs; with a generator a tenth of the regions is left out."""
        given = self._given[pair_ids]
        features = torch.from_numpy(self._features[given])  # (B, 4, F), a copy
        mask = torch.ones(features.shape[:2], dtype=torch.bool)
        if generator is not None:
            mask = torch.from_numpy(generator.random(mask.shape) > 0.1)
            mask[:, 0] = True
        tokens = torch.from_numpy(self._tokens[pair_ids])
        return PairBatch(
            ImageBatch(features * mask.unsqueeze(-1), mask),
            TextBatch(tokens, torch.ones_like(tokens, dtype=torch.bool)),
            torch.from_numpy(np.asarray(pair_ids, dtype=np.int64)),
            torch.from_numpy(given[:, None] == given[None, :]),
        )

    def matcher(self) -> Matcher:
        """The smallest one that reads regions and words."""
        return SampleMatcher(SampleOptions(), self.spec)


class SampleOptions(Options):
    """Options of the sample matcher."""

    dim: int = Field(16, ge=1, description="width of a fragment")


class SampleMatcher(Matcher):
    """The smallest matcher that learns: means of projected regions and of word vectors, by cosine.

    Args:
        config: how wide it is.
        spec: what must be known of the data.
    """

    Config: ClassVar[type[Options]] = SampleOptions

    def __init__(self, config: SampleOptions, spec: DataSpec) -> None:
        super().__init__()
        self.image = nn.Linear(spec.feature_width, config.dim)
        self.word = nn.Embedding(spec.vocabulary_size, config.dim)
        self.dropout = nn.Dropout(0.1)

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Fragments (N, R, D) and their mean."""
        return _fragments(self.dropout(self.image(images.features)), images.mask)

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Fragments (N, W, D) and their mean."""
        return _fragments(self.dropout(self.word(texts.tokens)), texts.mask)

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Cosines (N_images, N_texts)."""
        return F.normalize(_pooled(images), dim=-1) @ F.normalize(_pooled(texts), dim=-1).T

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Two groups, so that a method that leaves out factors is found out."""
        return [
            {"params": list(self.image.parameters()), "lr_factor": 1.0},
            {"params": list(self.word.parameters()), "lr_factor": 0.5},
        ]


def _fragments(features: Tensor, mask: Tensor) -> Fragments:
    real = mask.unsqueeze(-1)
    features = features.masked_fill(~real, 0.0)
    return Fragments(features, mask, features.sum(1) / real.sum(1))


def _pooled(side: Fragments) -> Tensor:
    if side.pooled is None:
        raise ValueError("these fragments come from another matcher: they have no pooled vector")
    return side.pooled
