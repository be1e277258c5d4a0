"""Small synthetic data: its description for a matcher, images, captions, and training pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.pairs import TrainingLabels
from robustcmr.matchers.base import Matcher, pooled_vectors
from robustcmr.options import Options
from robustcmr.types import DataSpec, Fragments, ImageBatch, IntArray, PairBatch, TextBatch

SPARE = 3
"""Places that samples leave unused below the largest sizes of a spec, so that they can be padded."""

N_CLASSES, TEXT_WIDTH = 5, 10
_SPREAD = 0.5  # of vectors around the centre of their class, in units of their numbers
_NOISE = 0.1  # added in training


def sample_spec(picture_size: tuple[int, int] | None = None, text_width: int | None = None) -> DataSpec:
    """Return the description of the synthetic data: 12 numbers a region, 40 words, or what is given.

    Args:
        picture_size: (H, W) for a matcher that reads pictures; None for region features.
        text_width: width of precomputed caption vectors; None for none.
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
    """Return n images: pixels, or regions with gaps in their mask, as augmentation leaves them.

    The first has all its regions.
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
    """Return n captions of different lengths, the first the longest and the last of one word."""
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
    """Training pairs for a method; ``spec`` describes them for a matcher."""

    spec: DataSpec

    in_memory = True
    """Nothing is read from a disk."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of pairs."""

    @property
    def image_of_pair(self) -> IntArray:
        """(N,) the image given to each pair; by default an image each."""
        return np.arange(len(self), dtype=np.int64)

    @abstractmethod
    def batch(
        self,
        pair_ids: IntArray,
        generator: np.random.Generator | None = None,
        image_from: IntArray | None = None,
    ) -> PairBatch:
        """Return some pairs, augmented if there is a generator; see :meth:`TrainingData.batch`."""

    def matcher(self) -> Matcher:
        """Return a fresh matcher that learns from them."""
        return SampleMatcher(SampleOptions(), self.spec)

    @property
    def sizes(self) -> Mapping[str, int]:
        """Further arguments of a method after the number of pairs and the batch size, by name."""
        return {}


class SamplePairs(Sample):
    """Pairs that are easy to learn: captions, four an image, name the kinds of region that their image shows.

    A quarter of the captions is given a wrong image; nothing says which.
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

    @property
    def image_of_pair(self) -> IntArray:
        """(N,) the image given to each pair."""
        return self._given

    def batch(
        self,
        pair_ids: IntArray,
        generator: np.random.Generator | None = None,
        image_from: IntArray | None = None,
    ) -> PairBatch:
        """Return some pairs; with a generator a tenth of the regions is dropped."""
        given = self._given[pair_ids if image_from is None else image_from]
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


class SampleLabels(Sample):
    """Labelled pairs that are easy to learn: the vectors of a class lie around a centre on each side.

    A quarter of the labels is wrong, in each of one or two columns another quarter; nothing says which.
    """

    spec = sample_spec(text_width=TEXT_WIDTH)

    def __init__(self, n_pairs: int = 100, columns: int = 1, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        classes = generator.permutation(n_pairs) % N_CLASSES  # (N,)
        given = np.repeat(classes[:, None], columns, axis=1).astype(np.int64)  # (N, M)
        for column in given.T:
            wrong = generator.choice(n_pairs, n_pairs // 4, replace=False)
            column[wrong] = (column[wrong] + generator.integers(1, N_CLASSES, len(wrong))) % N_CLASSES
        sides = []
        for width in (self.spec.feature_width, TEXT_WIDTH):
            centres = generator.normal(size=(N_CLASSES, width))
            vectors = centres[classes] + _SPREAD * generator.normal(size=(n_pairs, width))
            sides.append(ArrayFeatures(vectors.astype(np.float32)))
        self._pairs = TrainingLabels(sides[0], sides[1], given, _NOISE)

    def __len__(self) -> int:
        return len(self._pairs)

    def batch(
        self,
        pair_ids: IntArray,
        generator: np.random.Generator | None = None,
        image_from: IntArray | None = None,
    ) -> PairBatch:
        """Return some pairs; with a generator, noise is added to their vectors."""
        return self._pairs.batch(pair_ids, generator, image_from)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of classes, and width of a pooled vector."""
        return {"n_classes": N_CLASSES, "width": SampleOptions().dim}


class SampleOptions(Options):
    """Options of the sample matchers."""

    dim: int = Field(16, ge=1, description="width of a fragment")


class SampleMatcher(Matcher):
    """A minimal matcher that learns: means of projected regions and words, compared by cosine.

    A text whose vector is in the data is read by it instead of its words.
    """

    Config: ClassVar[type[Options]] = SampleOptions

    def __init__(self, config: SampleOptions, spec: DataSpec) -> None:
        super().__init__()
        self.image = nn.Linear(spec.feature_width, config.dim)
        self.word: nn.Module = nn.Embedding(spec.vocabulary_size, config.dim)
        if spec.text_width is not None:
            self.word = nn.Linear(spec.text_width, config.dim)
        self.dropout = nn.Dropout(0.1)

    def encode_images(self, images: ImageBatch) -> Fragments:
        """Return fragments (N, R, D) and their mean."""
        return self._fragments(self.image(images.features), images.mask)

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """Return fragments (N, W, D), or (N, 1, D) of vectors, and their mean."""
        if texts.vectors is None:
            return self._fragments(self.word(texts.tokens), texts.mask)
        return self._fragments(self.word(texts.vectors.unsqueeze(1)), texts.mask.new_ones(len(texts), 1))

    def _fragments(self, features: Tensor, mask: Tensor) -> Fragments:
        real = mask.unsqueeze(-1)
        features = self.dropout(features).masked_fill(~real, 0.0)
        return Fragments(features, mask, features.sum(1) / real.sum(1))

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Return cosines (N_images, N_texts)."""
        of_images, of_texts = (F.normalize(pooled_vectors(side), dim=-1) for side in (images, texts))
        return of_images @ of_texts.T

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return two groups, which reveal a method that ignores their factors."""
        sides = ((self.image, 1.0), (self.word, 0.5))
        return [{"params": list(side.parameters()), "lr_factor": factor} for side, factor in sides]
