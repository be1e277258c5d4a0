"""CC152K: Conceptual Captions with one web caption an image and no certainty that it fits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from robustcmr.data.base import PairsData, PairsSplit
from robustcmr.data.captions import read_captions_tsv
from robustcmr.data.fingerprint import fingerprint
from robustcmr.data.precomp import (
    FEATURES_SUFFIX,
    DamagedSplitError,
    attempt,
    check_root,
    find_splits,
    require_split,
)
from robustcmr.data.store import NpyFeatures
from robustcmr.options import Options

CAPTIONS_SUFFIX = "_caps.tsv"


class CC152K(PairsData):
    """A folder with ``{split}_ims.npy`` and ``{split}_caps.tsv`` (identifier, tab, caption) for each split.

    Args:
        config: where the folder is.

    Raises:
        DataError: there is no such folder, or it has no file of this layout.
    """

    class Config(Options):
        """Where the folder is."""

        root: Path = Field(description="folder with {split}_ims.npy and {split}_caps.tsv")

    published_images: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "train": (150000,),
        "dev": (1000,),
        "test": (1000,),
    }
    """Images a split has where it was published."""

    def __init__(self, config: Config) -> None:
        self._root = check_root(config.root, CAPTIONS_SUFFIX)
        self._opened: dict[str, PairsSplit] = {}

    def splits(self) -> tuple[str, ...]:
        """Names of the splits that have both features and captions, ``train`` first."""
        return find_splits(self._root, CAPTIONS_SUFFIX)[0]

    def split(self, name: str) -> PairsSplit:
        """Open a split; features stay on disk, identifiers become the names of the images.

        Raises:
            DataError: there is no such split, or its files are damaged or do not fit each other.
        """
        if name not in self._opened:
            require_split(self._root, CAPTIONS_SUFFIX, name)
            self._opened[name] = self._open(name)
        return self._opened[name]

    def fingerprint(self, split: str) -> str:
        """A short hash of a split's captions and features, the same on every machine."""
        opened = self.split(split)
        return fingerprint(opened.captions, opened.features)

    def features_path(self, split: str) -> Path:
        """The feature file of a split."""
        return self._root / (split + FEATURES_SUFFIX)

    def folder_problems(self) -> list[str]:
        """What is wrong with the folder as a whole: splits of which one file is missing."""
        return list(find_splits(self._root, CAPTIONS_SUFFIX)[1].values())

    def _open(self, name: str) -> PairsSplit:
        problems: list[str] = []
        features = attempt(problems, lambda: NpyFeatures(self.features_path(name)))
        table = attempt(problems, lambda: read_captions_tsv(self._root / (name + CAPTIONS_SUFFIX)))
        if features is None or table is None:
            raise DamagedSplitError(problems)
        ids, captions = table
        if features.rows != len(captions):
            counts = f"{features.path} has {features.rows} rows for {len(captions)} captions"
            raise DamagedSplitError([f"{counts}; expected one row a caption"])
        each_its_own = np.arange(len(captions), dtype=np.int64)
        return PairsSplit(name, features, captions, each_its_own, image_names=ids)
