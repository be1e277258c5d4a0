"""Labelled features in ``.npz``, MATLAB and HDF5 files: Wikipedia, NUS-WIDE, XMediaNet, INRIA and others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.base import FeatureStore, LabelledData, LabelledSplit
from robustcmr.data.label_columns import (
    LabelColumn,
    check_range,
    check_training_classes,
    first_class,
    read_class_names,
)
from robustcmr.data.labelled_layout import Layout, folder_of
from robustcmr.data.labelled_options import LabelledOptions
from robustcmr.data.labelled_rows import read_split_file, rows_between, rows_by_sizes, rows_in_range
from robustcmr.data.labelled_table import read_table, store_of
from robustcmr.data.prepared_features import PreparedFeatures, Scale, measured_scale
from robustcmr.errors import DataError
from robustcmr.types import IntArray

SAMPLED_PAIRS = 16

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Classes:
    """What the training labels say about all labels.

    Attributes:
        first: the number the first class is written as.
        one_hot: whether they are a one-hot matrix.
        names: of the classes.
    """

    first: int
    one_hot: bool
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Opened:
    """A split with the vectors as the file has them, in the order image, text, and as they are prepared."""

    split: LabelledSplit
    raw: tuple[ArrayFeatures, ArrayFeatures]


class Labelled(LabelledData):
    """Pairs of an image vector and a text vector with a class, in a folder or in one file.

    The splits are files ``train.npz``, ``dev.npz``, ``test.npz`` (or ``.mat``, ``.h5``, ``.hdf5``) in a
    folder; or arrays of one file, named under ``splits``; or rows of one file, given by ``split_file`` or
    dealt out by ``split_sizes``. Vectors are loaded into memory, but large uncompressed HDF5 arrays stay on
    disk. The training split is opened before any
    other, because it tells the classes, the widths and the scale.

    Args:
        config: where the files are, how the arrays are called and how they are prepared.

    Raises:
        DataError: a file is missing, or there is no training split.
    """

    Config = LabelledOptions

    published_pairs: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """Pairs a split has where it was published; empty where there is no published data set."""

    published_classes: ClassVar[int | None] = None
    """How many classes the published data set has; None where there is none."""

    published_names: ClassVar[tuple[str, ...] | None] = None
    """Names of the published classes, where they are known."""

    def __init__(self, config: LabelledOptions) -> None:
        self.config = config
        self._dealt: Mapping[str, IntArray] = {}
        if config.split_file is not None:
            self._dealt = read_split_file(folder_of(config.root) / config.split_file)
        self._layout = Layout(config, self._dealt or config.split_sizes)
        self._classes: _Classes | None = None
        self._scales: tuple[Scale, Scale] | None = None
        self._opened: dict[str, _Opened] = {}

    def splits(self) -> tuple[str, ...]:
        """Names of the splits, ``train`` first."""
        return tuple(self._layout.tables)

    def split(self, name: str) -> LabelledSplit:
        """Open a split.

        Raises:
            DataError: there is no such split, or its files, or those of the training split, are damaged or
                do not fit each other.
        """
        return self._open(name).split

    def fingerprint(self, split: str) -> str:
        """A short hash of a split's labels, shapes, some features and how they are prepared."""
        opened = self._open(split)
        prepared = f"{self.config.standardise} {self.config.normalise}"
        return labelled_fingerprint(opened.split.labels, *opened.raw, prepared)

    def unusual(self) -> tuple[str, ...]:
        """What differs from the data set as it was published, a sentence each; all splits are opened."""
        return tuple(
            f"{name}: {len(self.split(name))} pairs; the published split has {self.published_pairs[name]}"
            for name in self.splits()
            if len(self.split(name)) != self.published_pairs.get(name, len(self.split(name)))
        )

    def _open(self, name: str) -> _Opened:
        if name not in self._layout.tables:
            raise DataError(
                f"{self.config.root} has no split {name!r}; it has {', '.join(self._layout.tables)}"
            )
        if name not in self._opened:
            if name != "train":
                self._open("train")
            self._opened[name] = self._read(name)
            found, usual = len(self._opened[name].split), self.published_pairs.get(name)
            if usual is not None and found != usual:
                logger.warning("%s: %d pairs; the published split has %d", name, found, usual)
        return self._opened[name]

    def _read(self, name: str) -> _Opened:
        config, table = self.config, self._layout.tables[name]
        columns = read_table(table, config.transposed)
        rows = self._rows_of(name, len(columns))
        written = columns.labels
        if rows is not None:
            written = LabelColumn(written.numbers[rows], written.width)
        labels, names = self._labels(name, written, f"{table.label} ({name})")
        raw = (
            store_of(columns.images, rows, "image", name, table.image),
            store_of(columns.texts, rows, "text", name, table.text),
        )
        self._check_widths(name, raw)
        images, texts = self._prepared(raw)
        trusted = config.trusted or name != "train"
        return _Opened(LabelledSplit(name, images, texts, labels, names, trusted=trusted), raw)

    def _rows_of(self, name: str, n: int) -> IntArray | None:
        """Which of n rows are a split's; None for all of them."""
        config = self.config
        if config.split_sizes:
            return rows_by_sizes(n, config.split_sizes, config.split_seed, str(config.root))[name]
        if config.split_file is not None:
            return rows_in_range(self._dealt[name], n, name, self._layout.folder / config.split_file)
        given = config.splits.get(name)
        if given is None or given.rows is None:
            return None
        return rows_between(*given.rows, n, name)

    def _labels(self, name: str, written: LabelColumn, where: str) -> tuple[IntArray, tuple[str, ...]]:
        """Classes counted from 0, and their names."""
        if self._classes is None:
            self._classes = self._learn_classes(written, where)
        first, one_hot, names = self._classes.first, self._classes.one_hot, self._classes.names
        if one_hot and written.width is None:
            if self.config.label_base == "auto":
                raise DataError(
                    f"the train split has one-hot labels and the {name} split plain numbers, so it cannot be "
                    "told whether these are counted from 0 or from 1; state label_base"
                )
            first = self.config.label_base
        if written.width is not None:
            first = 0
        labels = written.numbers - first
        check_range(labels, len(names), first, where)
        return labels, names

    def _learn_classes(self, train: LabelColumn, where: str) -> _Classes:
        config = self.config
        names = self.published_names
        count = self.published_classes
        if config.class_names is not None:
            names = read_class_names(self._layout.folder / config.class_names)
            count = len(names)
        first = first_class(train, count, config.label_base, where)
        if count is None:
            count = train.width or int(train.numbers.max()) + 1 - first
        if train.width is not None and train.width != count:
            raise DataError(
                f"{where} is one-hot with {train.width} columns; expected one for each of {count} classes"
            )
        if names is None:
            names = tuple(f"class {k + first}" for k in range(count))
        check_range(train.numbers - first, count, first, where)
        check_training_classes(train.numbers - first, names)
        return _Classes(first, train.width is not None, names)

    def _check_widths(self, name: str, raw: tuple[ArrayFeatures, ArrayFeatures]) -> None:
        if name == "train":
            return
        train = self._opened["train"].raw
        for what, own, usual in zip(("image", "text"), raw, train, strict=True):
            if own.shape[2] != usual.shape[2]:
                raise DataError(
                    f"the {name} split has {what} vectors of {own.shape[2]} numbers, the train split of "
                    f"{usual.shape[2]}; expected the same width"
                )

    def _prepared(self, raw: tuple[ArrayFeatures, ArrayFeatures]) -> tuple[FeatureStore, FeatureStore]:
        """Standardise and normalise as asked for; the first split that comes is the training split."""
        config = self.config
        if config.standardise == "none" and not config.normalise:
            return raw
        if config.standardise == "train" and self._scales is None:
            self._scales = measured_scale(raw[0]), measured_scale(raw[1])
        scales = self._scales or (None, None)
        images, texts = (
            PreparedFeatures(store, scale, config.normalise) for store, scale in zip(raw, scales, strict=True)
        )
        return images, texts


class Wikipedia(Labelled):
    """The Wikipedia articles: 2,173, 231 and 462 pairs of 10 classes."""

    published_pairs = MappingProxyType({"train": 2173, "dev": 231, "test": 462})
    published_classes = 10
    published_names = (
        "art",
        "biology",
        "geography",
        "history",
        "literature",
        "media",
        "music",
        "royalty",
        "sport",
        "warfare",
    )


class NusWide(Labelled):
    """NUS-WIDE, the 10 largest concepts: 42,941, 5,000 and 23,661 pairs."""

    published_pairs = MappingProxyType({"train": 42941, "dev": 5000, "test": 23661})
    published_classes = 10


class XMediaNet(Labelled):
    """XMediaNet: 32,000, 4,000 and 4,000 pairs of 200 classes."""

    published_pairs = MappingProxyType({"train": 32000, "dev": 4000, "test": 4000})
    published_classes = 200


class InriaWebsearch(Labelled):
    """INRIA-Websearch, the 100 largest queries: 9,000, 1,332 and 4,366 pairs."""

    published_pairs = MappingProxyType({"train": 9000, "dev": 1332, "test": 4366})
    published_classes = 100


def labelled_fingerprint(labels: IntArray, images: ArrayFeatures, texts: ArrayFeatures, prepared: str) -> str:
    """Hash all labels, the shapes, and the features of some evenly spaced pairs.

    Args:
        labels: (n,) classes.
        images: (n, 1, F), as the file has them.
        texts: (n, 1, V), likewise.
        prepared: how they are changed afterwards.

    Returns:
        16 hexadecimal digits, the same on every machine and for every number type and layout of the file, as
        long as the values agree.
    """
    digest = hashlib.sha256()
    digest.update(f"{images.shape} {texts.shape} {prepared}\n".encode())
    digest.update(labels.astype("<i8").tobytes())
    n = len(labels)
    chosen = np.unique(np.linspace(0, n - 1, min(SAMPLED_PAIRS, n)).round().astype(np.int64))
    for store in (images, texts):
        digest.update(store.take(chosen).astype("<f4").tobytes())
    return digest.hexdigest()[:16]
