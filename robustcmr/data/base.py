"""What a data set of image-text pairs offers: splits of features and captions, and a fingerprint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from robustcmr.options import Options
from robustcmr.types import FloatArray, IntArray, PairBatch


class FeatureStore(Protocol):
    """Region features of all images of a split, or vectors of its captions as (n, 1, V), read on demand."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_images, R, F)."""
        ...

    def take(self, images: IntArray) -> FloatArray:
        """Features of some images, (k, R, F) float32, in the order asked for; repeats allowed."""
        ...


class ImageStore(Protocol):
    """What a matcher reads of the images of a split: region features, or pixels."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_images, R, F), or (n_images, 3, H, W) for pixels."""
        ...

    def take(self, images: IntArray) -> FloatArray:
        """Some images, (k, ...) float32, in the order asked for; repeats allowed."""
        ...


class TextReader(Protocol):
    """Turns captions into indices: the run's vocabulary of words, or a pretrained tokenizer."""

    @property
    def padding_index(self) -> int:
        """Index written where a caption is padded."""
        ...

    @property
    def unknown_index(self) -> int:
        """Index that stands for an unknown or a hidden word."""
        ...

    @property
    def words(self) -> tuple[str, ...]:
        """The words by index; empty where captions are cut into pieces of words."""
        ...

    @property
    def is_word(self) -> npt.NDArray[np.bool_]:
        """(V,) whether an index stands for what was written; marks of start, end and padding do not."""
        ...

    def __len__(self) -> int:
        """V, number of indices."""
        ...

    def encode_many(self, captions: Iterable[str]) -> Iterator[Sequence[int]]:
        """Indices of each caption, marks included; at least one each."""
        ...


@dataclass(frozen=True)
class PairsSplit:
    """One split of a data set.

    Attributes:
        name: such as ``train``, ``dev``, ``test`` or ``testall``.
        features: region features, one entry an image; None where there are only pictures.
        captions: raw caption text, one a row.
        image_of_caption: (n_captions,) int64, the image each caption was written for.
        picture: draws or loads image ``i`` as a ``PIL.Image.Image``; None where only features exist.
        image_names: file name or key of each image; None where unknown.
        trusted: whether the pairing as written is known to be right; where it is not, nothing is diagnosed
            against it.
        text_vectors: (n_captions, 1, V), a precomputed vector a caption; None where there are none.

    Raises:
        ValueError: there are no features, and no pictures with names either.
    """

    name: str
    features: FeatureStore | None
    captions: Sequence[str]
    image_of_caption: IntArray
    picture: Callable[[int], Any] | None = None
    image_names: Sequence[str] | None = None
    trusted: bool = True
    text_vectors: FeatureStore | None = None

    def __post_init__(self) -> None:
        if self.features is None and (self.picture is None or self.image_names is None):
            raise ValueError(
                f"split {self.name} has no features; it needs pictures then, and their names as well"
            )

    @property
    def n_images(self) -> int:
        """Number of images."""
        if self.features is not None:
            return self.features.shape[0]
        return len(self.image_names or ())


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

    def fits(self, split: str, caption_row: int, images: IntArray) -> npt.NDArray[np.bool_]:
        """Which images a caption is true of; only its own, unless a data set knows more.

        Args:
            split: name of the split.
            caption_row: row of the caption, 0..n_captions-1.
            images: (k,) images to ask about.

        Returns:
            (k,) bool; True at the image the caption was written for.

        Raises:
            DataError: there is no such split.
        """
        own = self.split(split).image_of_caption[caption_row]
        return np.asarray(images == own, dtype=np.bool_)


class TrainingData(Protocol):
    """The training pairs as the trainer asks for them."""

    def __len__(self) -> int:
        """Number of pairs."""
        ...

    def batch(self, pair_ids: IntArray, generator: np.random.Generator | None = None) -> PairBatch:
        """Read some pairs; with a generator they are augmented."""
        ...
