"""What a data set of image-text pairs offers: splits of features and captions, and a fingerprint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from robustcmr.options import Options
from robustcmr.types import FloatArray, IntArray, PairBatch


class FeatureStore(Protocol):
    """Region features of all images of a split, read on demand."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_images, R, F)."""
        ...

    def take(self, images: IntArray) -> FloatArray:
        """Features of some images, (k, R, F) float32, in the order asked for; repeats allowed."""
        ...


@dataclass(frozen=True)
class PairsSplit:
    """One split of a data set.

    Attributes:
        name: such as ``train``, ``dev``, ``test`` or ``testall``.
        features: region features, one entry an image.
        captions: raw caption text, one a row.
        image_of_caption: (n_captions,) int64, the image each caption was written for.
        picture: draws or loads image ``i`` as a ``PIL.Image.Image``; None where only features exist.
        image_names: file name or key of each image; None where unknown.
    """

    name: str
    features: FeatureStore
    captions: Sequence[str]
    image_of_caption: IntArray
    picture: Callable[[int], Any] | None = None
    image_names: Sequence[str] | None = None

    @property
    def n_images(self) -> int:
        """Number of images."""
        return self.features.shape[0]


class PairsData(ABC):
    """A data set of image-text pairs; third parties subclass it and register under ``robustcmr.datasets``."""

    Config: ClassVar[type[Options]]

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that are there, ``train`` first."""

    @abstractmethod
    def split(self, name: str) -> PairsSplit:
        """Open a split.

        Raises:
            DataError: there is no such split, or its files are damaged or inconsistent.
        """

    @abstractmethod
    def fingerprint(self, split: str) -> str:
        """A short hash of a split's captions and features, the same on every machine."""


class TrainingData(Protocol):
    """The training pairs as the trainer asks for them."""

    def __len__(self) -> int:
        """Number of pairs."""
        ...

    def batch(self, pair_ids: IntArray, generator: np.random.Generator | None = None) -> PairBatch:
        """Read some pairs; with a generator they are augmented."""
        ...
