"""Interfaces of data sets: splits of features and captions, and a fingerprint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from robustcmr.options import Options
from robustcmr.types import FloatArray, IntArray, PairBatch


class ImageStore(Protocol):
    """Images of a split as a matcher reads them: region features, or pixels."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_images, R, F), or (n_images, 3, H, W) for pixels."""

    def take(self, images: IntArray) -> FloatArray:
        """Return some images, (k, ...) float32, in the requested order; repeats allowed."""


class FeatureStore(ImageStore, Protocol):
    """Region features of the images of a split, or vectors of its captions as (n, 1, V), read on demand."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_images, R, F)."""


class TextReader(Protocol):
    """Turns captions into indices: a vocabulary of words, or a pretrained tokenizer.

    Attributes:
        padding_index: index of padding.
        unknown_index: index of an unknown or masked word.
        missing_index: index of any text that it does not know; None if it knows everything.
        words: the words by index; empty if captions are cut into word pieces.
        is_word: (V,) whether an index is a word or word piece; marks of start, end and padding are not.
    """

    padding_index: int
    unknown_index: int
    missing_index: int | None
    words: tuple[str, ...]
    is_word: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of indices V."""

    def encode_many(self, captions: Iterable[str]) -> Iterator[Sequence[int]]:
        """Yield the indices of each caption, marks included; at least one each."""


@dataclass(frozen=True)
class PairsSplit:
    """One split of a data set.

    Attributes:
        name: such as ``train``, ``dev``, ``test`` or ``testall``.
        features: region features, one entry an image; None if there are only pictures.
        captions: raw caption text, one a row.
        image_of_caption: (n_captions,) int64, the image that each caption belongs to.
        picture: draws or loads image ``i`` as a ``PIL.Image.Image``; None if there are only features.
        image_names: file name or key of each image; None if unknown.
        trusted: whether the pairing is known to be right; otherwise nothing is diagnosed against it.
        text_vectors: (n_captions, 1, V), a precomputed vector per caption; or None.
        pair_ids: the id of each caption with its image, as the user's data has it; None without ids.
        clean_probability: (n_captions,) float32 in 0..1, what an audit believes of each pair, from which
            training may start; None without one. It is an estimate, never the truth.

    Raises:
        ValueError: there are neither features nor pictures with names.
    """

    name: str
    features: FeatureStore | None
    captions: Sequence[str]
    image_of_caption: IntArray
    picture: Callable[[int], Any] | None = None
    image_names: Sequence[str] | None = None
    trusted: bool = True
    text_vectors: FeatureStore | None = None
    pair_ids: Sequence[str] | None = None
    clean_probability: FloatArray | None = None

    def __post_init__(self) -> None:
        if self.features is None and (self.picture is None or self.image_names is None):
            raise ValueError(f"split {self.name} has no features; expected pictures and their names instead")

    @property
    def n_images(self) -> int:
        """Number of images."""
        if self.features is not None:
            return self.features.shape[0]
        return len(self.image_names or ())


@dataclass(frozen=True)
class LabelledSplit:
    """One split of a data set whose pairs have a class each.

    Attributes:
        name: such as ``train``, ``dev`` or ``test``.
        images: (n, 1, F), a vector per image.
        texts: (n, 1, V), a vector per text; text i belongs to image i.
        labels: (n,) int64, the class of each pair, 0..n_classes-1.
        class_names: n_classes names.
        captions: the texts; None if there are only vectors.
        picture: draws or loads image ``i`` as a ``PIL.Image.Image``; None if there are only vectors.
        trusted: whether the labels are known to be right; otherwise nothing is diagnosed against them.

    Raises:
        ValueError: the numbers of images, texts and labels differ, or a label has no class.
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
                f"{len(self.labels)} labels; expected equally many of each"
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
    """``pairs`` or ``labels``: the kind of noise and metric."""
    chooses_matcher: ClassVar[bool] = False
    """Whether :meth:`matcher` says which matcher a run uses unless one is named."""

    usual_matcher: ClassVar[str | None] = None
    """That matcher, where it is the same for all such data."""

    def matcher(self) -> tuple[str, str]:
        """Return the name of the matcher that reads such data, and why, as ``there are ...``.

        Only asked where :attr:`chooses_matcher` is true.

        Raises:
            DataError: no matcher can read what there is.
        """
        raise NotImplementedError

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits, ``train`` first."""

    @abstractmethod
    def split(self, name: str) -> Any:
        """Open a split.

        Raises:
            DataError: there is no such split, or its files are damaged or inconsistent.
        """

    @abstractmethod
    def fingerprint(self, split: str) -> str:
        """Return a short hash of a split's content, the same on every machine."""

    def older_fingerprints(self, split: str) -> tuple[str, ...]:
        """Return what :meth:`fingerprint` gave in earlier versions, which older run folders recorded."""
        del split
        return ()

    def known_fingerprints(self, split: str) -> tuple[str, ...]:
        """Return the fingerprint, and those that earlier versions gave."""
        return self.fingerprint(split), *self.older_fingerprints(split)


class LabelledData(DataSet):
    """A data set whose image-text pairs have a class each; third parties subclass it."""

    track = "labels"

    @abstractmethod
    def split(self, name: str) -> LabelledSplit:
        """Open a split; see :class:`DataSet`."""


class PairsData(DataSet):
    """A data set of image-text pairs; third parties subclass it."""

    track = "pairs"

    @abstractmethod
    def split(self, name: str) -> PairsSplit:
        """Open a split; see :class:`DataSet`."""

    def fits(self, split: str, caption_row: int, images: IntArray) -> npt.NDArray[np.bool_]:
        """Return which images (k,) a caption is true of, (k,) bool: its own, unless a data set knows more.

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

    @property
    def image_of_pair(self) -> IntArray:
        """(N,) index of the image given to each pair; pairs of one image have the same."""

    def __len__(self) -> int:
        """Number of pairs."""

    def batch(
        self,
        pair_ids: IntArray,
        generator: np.random.Generator | None = None,
        image_from: IntArray | None = None,
    ) -> PairBatch:
        """Read some pairs (B,); with a generator they are augmented.

        With ``image_from`` (B,), each caption comes with the image that was given to that pair.
        """


@runtime_checkable
class OrderedData(TrainingData, Protocol):
    """Training pairs that order a pass over all of them; see :mod:`robustcmr.data.scoring_order`."""

    def shuffled_parts(self, n_parts: int, generator: np.random.Generator) -> list[IntArray]:
        """Divide all pairs into random parts of nearly equal size; the same wherever the features are."""
