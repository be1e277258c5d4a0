"""Small made-up data of the labels track: vectors in classes, some of them given wrong, and a matcher."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.labelled_pairs import TrainingLabels
from robustcmr.errors import DataError
from robustcmr.matchers.base import Matcher, pooled_vectors
from robustcmr.options import Options
from robustcmr.testing.samples import Sample, SampleOptions, sample_spec
from robustcmr.types import DataSpec, Fragments, ImageBatch, IntArray, PairBatch, TextBatch

N_CLASSES, TEXT_WIDTH = 5, 10
_SPREAD = 0.5  # of vectors around that of their class, in units of its numbers
_NOISE = 0.1  # added in training


class SampleLabels(Sample):
    """Labelled pairs that are easily learnt: the vectors of a class lie around one of each side.

    A quarter of the labels is wrong, in each column another quarter. Nothing says which.

    Args:
        n_pairs: number of pairs, of all classes alike.
        columns: 1, or 2 where image and text have a label each.
        seed: another seed, other pairs.
    """

    spec = sample_spec(text_width=TEXT_WIDTH)

    def __init__(self, n_pairs: int = 100, columns: int = 1, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        kinds = generator.permutation(n_pairs) % N_CLASSES  # (N,)
        given = np.repeat(kinds[:, None], columns, axis=1).astype(np.int64)  # (N, M)
        for column in given.T:
            wrong = generator.choice(n_pairs, n_pairs // 4, replace=False)
            column[wrong] = (column[wrong] + generator.integers(1, N_CLASSES, len(wrong))) % N_CLASSES
        images, texts = (_around(kinds, width, generator) for width in (self.spec.feature_width, TEXT_WIDTH))
        self._pairs = TrainingLabels(images, texts, given, _NOISE)

    def __len__(self) -> int:
        return len(self._pairs)

    def batch(self, pair_ids: IntArray, generator: np.random.Generator | None = None) -> PairBatch:
        """Some pairs; with a generator every number is a little off."""
        return self._pairs.batch(pair_ids, generator)

    def matcher(self) -> Matcher:
        """The smallest one that reads vectors."""
        return SampleVectorMatcher(SampleOptions(), self.spec)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of classes, and width of a pooled vector."""
        return {"n_classes": N_CLASSES, "width": SampleOptions().dim}


def _around(kinds: IntArray, width: int, generator: np.random.Generator) -> ArrayFeatures:
    """(N, 1, width) vectors around one of their class."""
    middles = generator.normal(size=(N_CLASSES, width))
    vectors = middles[kinds] + _SPREAD * generator.normal(size=(len(kinds), width))
    return ArrayFeatures(vectors.astype(np.float32))


class SampleVectorMatcher(Matcher):
    """The smallest matcher of vectors: a linear map a side, compared by cosine.

    Args:
        config: how wide it is.
        spec: what must be known of the data.

    Raises:
        DataError: the texts have no vectors.
    """

    Config: ClassVar[type[Options]] = SampleOptions

    def __init__(self, config: SampleOptions, spec: DataSpec) -> None:
        super().__init__()
        if spec.text_width is None:
            raise DataError("the sample matcher of vectors needs a vector of each text; give text_width")
        self.image = nn.Linear(spec.feature_width, config.dim)
        self.text = nn.Linear(spec.text_width, config.dim)
        self.dropout = nn.Dropout(0.1)

    def encode_images(self, images: ImageBatch) -> Fragments:
        """One vector of any length an image, (N, 1, D) and pooled (N, D)."""
        real = images.mask.unsqueeze(-1)
        mean = (images.features * real).sum(1) / real.sum(1)
        return _single(self.image(self.dropout(mean)))

    def encode_texts(self, texts: TextBatch) -> Fragments:
        """One vector of any length a text, (N, 1, D) and pooled (N, D)."""
        if texts.vectors is None:
            raise DataError("the sample matcher of vectors needs a vector of each text; this batch has none")
        return _single(self.text(self.dropout(texts.vectors)))

    def score(self, images: Fragments, texts: Fragments) -> Tensor:
        """Cosines (N_images, N_texts)."""
        of_images, of_texts = (F.normalize(pooled_vectors(side), dim=-1) for side in (images, texts))
        return of_images @ of_texts.T

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Two groups, so that a method that leaves out factors is found out."""
        return [
            {"params": list(self.image.parameters()), "lr_factor": 1.0},
            {"params": list(self.text.parameters()), "lr_factor": 0.5},
        ]


def _single(vectors: Tensor) -> Fragments:
    return Fragments(vectors.unsqueeze(1), vectors.new_ones(len(vectors), 1).bool(), vectors)
