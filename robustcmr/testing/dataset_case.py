"""What every check of a data set is handed, whichever track the data is for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from robustcmr.data.base import DataSet, FeatureStore, LabelledData, LabelledSplit, PairsData, PairsSplit
from robustcmr.types import FloatArray, IntArray

D = TypeVar("D", bound=DataSet)
S = TypeVar("S", bound=PairsSplit | LabelledSplit)

UNKNOWN_SPLIT = "no-such-split"


class DataCase(ABC, Generic[D, S]):
    """A data set to look through.

    Args:
        data: open.
        again: the same, opened once more; None where it cannot be.
        sample: entries of a split to look at closely.
    """

    split_type: type[S]

    def __init__(self, data: D, again: D | None, sample: int) -> None:
        self.data = data
        self.again = again
        self.sample = sample

    def opened(self, data: D | None = None) -> Iterator[S]:
        """Every split, of the data set or of another."""
        data = self.data if data is None else data
        for name in data.splits():
            yield self.open(data, name)

    def some(self, n: int) -> IntArray:
        """A few evenly spaced indices of 0..n-1."""
        chosen = np.unique(np.linspace(0, n - 1, min(self.sample, n)).round())
        return np.asarray(chosen, dtype=np.int64)

    def looked_at(self, store: FeatureStore) -> FloatArray:
        """What a store gives for some evenly spaced entries."""
        return store.take(self.some(store.shape[0]))

    def stores(self) -> Iterator[tuple[str, FeatureStore]]:
        """All that features and vectors are taken from, with what to call it."""
        for split in self.opened():
            for what, store in self.stores_of(split).items():
                yield f"{what} of {split.name}", store

    def content(self, split: S) -> dict[str, Any]:
        """Arrays and sequences that tell one split from another, by what to call them."""
        taken = {what: self.looked_at(store) for what, store in self.stores_of(split).items()}
        return {**self.written(split), **taken}

    @abstractmethod
    def open(self, data: D, name: str) -> S:
        """A split, of the data set or of the same opened again."""

    @abstractmethod
    def unknown_split(self) -> Mapping[str, Callable[[], object]]:
        """Calls that ask for a split that does not exist, by name."""

    @abstractmethod
    def n_images(self, split: S) -> int:
        """Number of images."""

    @abstractmethod
    def n_texts(self, split: S) -> int:
        """Number of texts."""

    @abstractmethod
    def stores_of(self, split: S) -> Mapping[str, FeatureStore]:
        """Features and vectors of a split, by what to call them."""

    @abstractmethod
    def written(self, split: S) -> Mapping[str, Sequence[object] | IntArray | None]:
        """What is written in a split, by what to call it."""


class PairsCase(DataCase[PairsData, PairsSplit]):
    """A data set of image-text pairs."""

    split_type = PairsSplit

    def open(self, data: PairsData, name: str) -> PairsSplit:
        """A split."""
        return data.split(name)

    def unknown_split(self) -> dict[str, Callable[[], object]]:
        """Opening one, and asking what fits in one."""
        return {
            "split": lambda: self.data.split(UNKNOWN_SPLIT),
            "fits": lambda: self.data.fits(UNKNOWN_SPLIT, 0, np.zeros(1, dtype=np.int64)),
        }

    def n_images(self, split: PairsSplit) -> int:
        """Number of images."""
        return split.n_images

    def n_texts(self, split: PairsSplit) -> int:
        """Number of captions."""
        return len(split.captions)

    def stores_of(self, split: PairsSplit) -> dict[str, FeatureStore]:
        """Features of images and vectors of captions, as far as there are any."""
        found = {"features": split.features, "text_vectors": split.text_vectors}
        return {what: store for what, store in found.items() if store is not None}

    def written(self, split: PairsSplit) -> dict[str, Sequence[object] | IntArray | None]:
        """Captions and pairing."""
        return {"captions": split.captions, "pairing": split.image_of_caption}


class LabelledCase(DataCase[LabelledData, LabelledSplit]):
    """A data set whose pairs carry a class each."""

    split_type = LabelledSplit

    def open(self, data: LabelledData, name: str) -> LabelledSplit:
        """A split."""
        return data.split(name)

    def unknown_split(self) -> dict[str, Callable[[], object]]:
        """Opening one."""
        return {"split": lambda: self.data.split(UNKNOWN_SPLIT)}

    def n_images(self, split: LabelledSplit) -> int:
        """Number of pairs."""
        return len(split)

    def n_texts(self, split: LabelledSplit) -> int:
        """Number of pairs."""
        return len(split)

    def stores_of(self, split: LabelledSplit) -> dict[str, FeatureStore]:
        """Vectors of images and of texts."""
        return {"images": split.images, "texts": split.texts}

    def written(self, split: LabelledSplit) -> dict[str, Sequence[object] | IntArray | None]:
        """Labels, names of the classes, and captions where there are any."""
        return {"labels": split.labels, "class_names": split.class_names, "captions": split.captions}
