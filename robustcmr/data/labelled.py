"""Labelled vectors in ``.npz``, MATLAB and HDF5 files: Wikipedia, NUS-WIDE, XMediaNet, INRIA and others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar

from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.base import FeatureStore, LabelledData, LabelledSplit
from robustcmr.data.fingerprint import row_digests, sample_bytes
from robustcmr.data.label_columns import Classes, LabelColumn, read_class_names, read_table
from robustcmr.data.labelled_layout import find_tables, folder_of, read_split_file, rows_of_split
from robustcmr.data.labelled_options import LabelledOptions
from robustcmr.data.prepared_features import PreparedFeatures, Scale, measured_scale
from robustcmr.data.scan import named
from robustcmr.data.store import non_finite_images
from robustcmr.errors import DataError
from robustcmr.types import IntArray

logger = logging.getLogger(__name__)


Raw = tuple[ArrayFeatures, ArrayFeatures]
"""Image and text vectors as the file has them."""


class Labelled(LabelledData):
    """Pairs of an image vector and a text vector with a class, in a folder or in one file.

    The default layout is a file per split with the arrays ``image`` (n, F), ``text`` (n, V) and ``label``::

        ROOT/
          train.npz          or .mat, .h5, .hdf5
          dev.npz
          test.npz
          class_names.txt    optional, see class_names: a name a line

    Instead, ``splits`` may name the arrays of each split in one file, and ``split_file`` or ``split_sizes``
    may divide the rows of one file. Vectors are loaded into memory, but large uncompressed HDF5 arrays stay
    on disk. The training split is opened first, as it defines the classes, the widths and the scale.

    Args:
        config: where the files are, what the arrays are called and how they are prepared.

    Raises:
        DataError: a file is missing, or there is no training split.
    """

    Config = LabelledOptions

    published_pairs: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """Pairs of each published split; empty if no data set was published."""

    published_classes: ClassVar[int | None] = None
    """Number of published classes, if any."""

    published_names: ClassVar[tuple[str, ...] | None] = None
    """Names of the published classes, if known."""

    def __init__(self, config: LabelledOptions) -> None:
        self.config = config
        self._folder = folder_of(config.root)
        self._listed: Mapping[str, IntArray] = {}
        if config.split_file is not None:
            self._listed = read_split_file(self._folder / config.split_file)
        self._tables = find_tables(config, self._listed or config.split_sizes)
        self._classes: Classes | None = None
        self._scales: tuple[Scale | None, Scale | None] | None = None
        self._opened: dict[str, tuple[LabelledSplit, Raw]] = {}

    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits, ``train`` first."""
        return tuple(self._tables)

    def split(self, name: str) -> LabelledSplit:
        """Open a split, the training split first; see :class:`robustcmr.data.base.DataSet`."""
        return self._open(name)[0]

    def fingerprint(self, split: str) -> str:
        """Return a short hash of labels, shapes, all vectors and how they are prepared."""
        return self._hash(split, lambda store: row_digests(store).tobytes())

    def older_fingerprints(self, split: str) -> tuple[str, ...]:
        """Return the hash of labels, shapes and some vectors that versions before 0.2 recorded."""
        return (self._hash(split, sample_bytes),)

    def _hash(self, split: str, content: Callable[[FeatureStore], bytes]) -> str:
        opened, (images, texts) = self._open(split)
        prepared = f"{self.config.standardise} {self.config.normalise}"
        digest = hashlib.sha256(f"{images.shape} {texts.shape} {prepared}\n".encode())
        digest.update(opened.labels.astype("<i8").tobytes())
        digest.update(content(images) + content(texts))
        return digest.hexdigest()[:16]

    def unusual(self) -> tuple[str, ...]:
        """Return a sentence for each split whose size differs from the published one; opens all splits."""
        return tuple(found for name in self.splits() for found in self._unusual(self.split(name)))

    def _unusual(self, split: LabelledSplit) -> Iterator[str]:
        usual = self.published_pairs.get(split.name, len(split))
        if len(split) != usual:
            yield f"{split.name}: {len(split)} pairs; the published split has {usual}"

    def _open(self, name: str) -> tuple[LabelledSplit, Raw]:
        if name not in self._tables:
            raise DataError(f"{self.config.root} has no split {name!r}; it has {', '.join(self._tables)}")
        if name not in self._opened:
            if name != "train":
                self._open("train")
            self._opened[name] = self._read(name)
            for found in self._unusual(self._opened[name][0]):
                logger.warning("%s", found)
        return self._opened[name]

    def _read(self, name: str) -> tuple[LabelledSplit, Raw]:
        config, table = self.config, self._tables[name]
        image_array, text_array, written = read_table(table, config.transposed)
        rows = rows_of_split(config, name, len(written.numbers), self._listed)
        if rows is not None:
            written = LabelColumn(written.numbers[rows], written.width)
        where = f"{table.label} ({name})"
        if self._classes is None:
            self._classes = self._learn_classes(written, where)
        labels = self._classes.labels_of(written, name, config.label_base, where)
        raw = ArrayFeatures(image_array, rows), ArrayFeatures(text_array, rows)
        usual = raw if name == "train" else self._opened["train"][1]
        for what, store, place, train in zip(
            ("image", "text"), raw, (table.image, table.text), usual, strict=True
        ):
            bad = [row for row, _ in non_finite_images(store)]
            if bad:
                raise DataError(
                    f"{len(bad)} of {store.shape[0]} {what} vectors of the {name} split hold NaN or "
                    f"infinity: rows {named(bad)} of {place}; repair or leave out these pairs"
                )
            if store.shape[2] != train.shape[2]:
                raise DataError(
                    f"the {name} split has {what} vectors of {store.shape[2]} numbers, the train split of "
                    f"{train.shape[2]}; expected the same width"
                )
        images, texts = self._prepared(raw)
        trusted = config.trusted or name != "train"
        split = LabelledSplit(name, images, texts, labels, self._classes.names, trusted=trusted)
        return split, raw

    def _learn_classes(self, train: LabelColumn, where: str) -> Classes:
        names, count = self.published_names, self.published_classes
        if self.config.class_names is not None:
            names = read_class_names(self._folder / self.config.class_names)
            count = len(names)
        return Classes.of_training(train, self.config.label_base, names, count, where)

    def _prepared(self, raw: Raw) -> tuple[FeatureStore, FeatureStore]:
        """Standardise and normalise as configured; the scale is that of the split that comes first, train."""
        config = self.config
        if config.standardise == "none" and not config.normalise:
            return raw
        if self._scales is None:
            measured = config.standardise == "train"
            self._scales = (measured_scale(raw[0]), measured_scale(raw[1])) if measured else (None, None)
        images, texts = (
            PreparedFeatures(store, scale, config.normalise)
            for store, scale in zip(raw, self._scales, strict=True)
        )
        return images, texts


class Wikipedia(Labelled):
    """The Wikipedia articles: 2,173, 231 and 462 pairs of 10 classes; files as for ``labelled``."""

    published_pairs = MappingProxyType({"train": 2173, "dev": 231, "test": 462})
    published_classes = 10
    published_names = (
        *("art", "biology", "geography", "history", "literature"),
        *("media", "music", "royalty", "sport", "warfare"),
    )


class NusWide(Labelled):
    """NUS-WIDE, the 10 largest concepts: 42,941, 5,000 and 23,661 pairs; files as for ``labelled``."""

    published_pairs = MappingProxyType({"train": 42941, "dev": 5000, "test": 23661})
    published_classes = 10


class XMediaNet(Labelled):
    """XMediaNet: 32,000, 4,000 and 4,000 pairs of 200 classes; files as for ``labelled``."""

    published_pairs = MappingProxyType({"train": 32000, "dev": 4000, "test": 4000})
    published_classes = 200


class InriaWebsearch(Labelled):
    """INRIA-Websearch, the 100 largest queries: 9,000, 1,332 and 4,366 pairs; files as for ``labelled``."""

    published_pairs = MappingProxyType({"train": 9000, "dev": 1332, "test": 4366})
    published_classes = 100
