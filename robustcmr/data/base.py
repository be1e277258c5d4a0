"""What a data set of image-text pairs offers: splits of features and captions, and a fingerprint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

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


@dataclass(frozen=True)
class LabelledSplit:
    """One split of a data set whose pairs carry a class each.

    Attributes:
        name: such as ``train``, ``dev`` or ``test``.
        images: (n, 1, F), one vector an image.
        texts: (n, 1, V), one vector a text; text i belongs to image i.
        labels: (n,) int64, the class of each pair, 0..n_classes-1.
        class_names: n_classes names.
        captions: what was written, where it is known; None where only vectors exist.
        picture: draws or loads image ``i`` as a ``PIL.Image.Image``; None where only vectors exist.
        trusted: whether the labels are known to be right; where they are not, nothing is diagnosed against
            them.

    Raises:
        ValueError: images, texts and labels are not equally many, or a label has no class.
    """

    name: str
    images: FeatureStore
    texts: FeatureStore
    labels: IntArray
    class_names: tuple[str, ...]
    captions: Sequence[str] | None = None
    picture: Callable[[int], Any] | None = None
    trusted: bool = True

    def __post_init__(self) -> None:
        counts = {self.images.shape[0], self.texts.shape[0], len(self.labels)}
        if len(counts) > 1:
            raise ValueError(
                f"split {self.name} has {self.images.shape[0]} images, {self.texts.shape[0]} texts and "
                f"{len(self.labels)} labels; give as many of each"
            )
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise ValueError(
                f"split {self.name} has labels {self.labels.min()}..{self.labels.max()} for "
                f"{len(self.class_names)} classes, expected 0..{len(self.class_names) - 1}"
            )

    def __len__(self) -> int:
        return len(self.labels)


class DataSet(ABC):
    """A data set of any track; third parties register one under ``robustcmr.datasets``."""

    Config: ClassVar[type[Options]]
    track: ClassVar[str]
    """``pairs`` or ``labels``: what may be wrong in it, and how it is measured."""

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that are there, ``train`` first."""

    @abstractmethod
    def fingerprint(self, split: str) -> str:
        """A short hash of a split's content, the same on every machine."""


class LabelledData(DataSet):
    """A data set whose image-text pairs carry a class each; third parties subclass it."""

    track = "labels"

    @abstractmethod
    def split(self, name: str) -> LabelledSplit:
        """Open a split.

        Raises:
            DataError: there is no such split, or its files are damaged or inconsistent.
        """


class PairsData(DataSet):
    """A data set of image-text pairs; third parties subclass it."""

    track = "pairs"

    @abstractmethod
    def split(self, name: str) -> PairsSplit:
        """Open a split.

        Raises:
            DataError: there is no such split, or its files are damaged or inconsistent.
        """

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

    @property
    def in_memory(self) -> bool:
        """Whether all features are in main memory or on a device, so that no batch waits for the disk."""
        ...

    def __len__(self) -> int:
        """Number of pairs."""
        ...

    def batch(self, pair_ids: IntArray, generator: np.random.Generator | None = None) -> PairBatch:
        """Read some pairs; with a generator they are augmented."""
        ...


@runtime_checkable
class OrderedData(TrainingData, Protocol):
    """Training pairs that order a pass over all of them; see :mod:`robustcmr.data.scoring_order`."""

    def shuffled_parts(self, n_parts: int, generator: np.random.Generator) -> list[IntArray]:
        """Divide all pairs into random parts of nearly equal size; the same wherever the features are."""
        ...
