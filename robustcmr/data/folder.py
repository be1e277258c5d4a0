"""Folders of precomputed features, whatever their caption files look like."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, TypeVar

from robustcmr.data.base import FeatureStore, PairsData, PairsSplit
from robustcmr.data.fingerprint import fingerprint, sampled_fingerprint
from robustcmr.data.pairing import Pairing
from robustcmr.data.store import NpyFeatures
from robustcmr.errors import DataError, some_of

logger = logging.getLogger("robustcmr")

Value = TypeVar("Value")
FEATURES_SUFFIX = "_ims.npy"
TEXT_VECTORS_SUFFIX = "_txts.npy"
TRUSTED_PAIRS = (
    "whether the training pairs are known to be right; set false for pairs from the web, so that nothing is "
    "scored against them"
)
"""Description of the option ``trusted``."""
CAPTION_FILES: Mapping[str, str] = MappingProxyType(
    {
        "_caps.txt": "one a line, those of an image one after another",
        "_caps.tsv": "lines of identifier<TAB>caption",
    }
)
"""What the caption files hold, by the end of their names."""
SPLIT_ORDER = ("train", "dev", "test", "testall")


class DamagedSplitError(DataError):
    """A split cannot be opened, for one or more reasons."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; and ".join(self.problems))


class FeatureFolder(PairsData):
    """A folder with ``{split}_ims.npy`` and a caption file per split, and optionally ``{split}_txts.npy``."""

    captions_suffix: ClassVar[str]
    """End of the caption files' names."""

    published_images: ClassVar[Mapping[str, tuple[int, ...]]] = MappingProxyType({})
    """Images of each published split, over all releases; empty if no data set was published."""

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser()
        self._opened: dict[str, PairsSplit] = {}
        self._sources: dict[str, str] = {}
        self._fingerprints: dict[str, str] = {}
        if not self._root.is_dir() or not any(self._find_splits()):
            raise wrong_root(self._root, f"{{split}}{FEATURES_SUFFIX}", self.captions_suffix)

    @abstractmethod
    def _open(self, name: str) -> PairsSplit:
        """Read a split that has both its files."""

    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits that have both features and captions, ``train`` first."""
        return self._find_splits()[0]

    def split(self, name: str) -> PairsSplit:
        """Open a split; features stay on disk. See :class:`robustcmr.data.base.DataSet`."""
        if name not in self._opened:
            complete, halves = self._find_splits()
            if name in halves:
                raise DataError(halves[name])
            if name not in complete:
                there = ", ".join(complete) or "no complete split"
                raise DataError(f"{self._root} has no split {name!r}; it has {there}")
            self._opened[name] = self._open(name)
        return self._opened[name]

    def fingerprint(self, split: str) -> str:
        """Return a short hash of a split's captions, pairing and features, the same on every machine."""
        opened, features = self.split(split), self._features(split)
        if split not in self._fingerprints:
            self._fingerprints[split] = fingerprint(
                opened.captions, opened.image_of_caption, features, opened.text_vectors
            )
        return self._fingerprints[split]

    def older_fingerprints(self, split: str) -> tuple[str, ...]:
        """Return the hash of captions and some features that versions before 0.2 recorded."""
        opened = self.split(split)
        return (sampled_fingerprint(opened.captions, self._features(split), opened.text_vectors),)

    def pairing(self, split: str) -> str:
        """Return how captions are paired with images, in words."""
        self.split(split)
        return self._sources[split]

    def _features(self, split: str) -> FeatureStore:
        features = self.split(split).features
        if features is None:
            raise DataError(f"{self._root}: the {split} split has no features")
        return features

    def _paired(
        self,
        name: str,
        pairing: Pairing,
        captions: Sequence[str],
        trusted: bool,
        text_vectors: NpyFeatures | None,
    ) -> PairsSplit:
        """Return a split of paired captions, and say so where captions are not in their usual order."""
        if not pairing.regular:
            logger.info("%s: captions are paired %s", name, pairing.source)
        self._sources[name] = pairing.source
        return PairsSplit(
            name,
            pairing.features,
            captions,
            pairing.image_of_caption,
            image_names=pairing.names,
            trusted=trusted,
            text_vectors=text_vectors,
        )

    def features_path(self, split: str) -> Path:
        """Return the feature file of a split."""
        return self._root / (split + FEATURES_SUFFIX)

    def captions_path(self, split: str) -> Path:
        """Return the caption file of a split."""
        return self._root / (split + self.captions_suffix)

    def text_vectors(self, split: str, n_captions: int) -> NpyFeatures | None:
        """Return the vectors of a split's captions, (n_captions, 1, V); None if there is no file."""
        path = self._root / (split + TEXT_VECTORS_SUFFIX)
        if not path.exists():
            return None
        vectors = NpyFeatures(path)
        if vectors.shape[:2] != (n_captions, 1):
            rows, places, _ = vectors.shape
            raise DataError(
                f"{path} has {rows} rows of {places} vectors for {n_captions} captions; expected one "
                "vector a caption"
            )
        return vectors

    def folder_problems(self) -> list[str]:
        """Return a sentence for each split with only one of its two files."""
        return list(self._find_splits()[1].values())

    def _find_splits(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return the splits with both files, and for each with one file a sentence naming the missing one."""
        suffixes = (FEATURES_SUFFIX, self.captions_suffix)
        found = [set(splits_by_suffix(self._root, suffix)) for suffix in suffixes]
        halves = {}
        for split in in_order(found[0] ^ found[1]):
            there, missing = suffixes if split in found[0] else suffixes[::-1]
            halves[split] = f"{self._root} has {split}{there} but no {split}{missing}; a split needs both"
            if missing == self.captions_suffix:
                halves[split] += f", the captions as {CAPTION_FILES[missing]}{other_captions(self._root)}"
        return in_order(found[0] & found[1]), halves


def splits_by_suffix(root: Path, suffix: str) -> tuple[str, ...]:
    """Return the names of the splits that have a file ``{split}{suffix}``, ``train`` first."""
    names = [path.name for path in root.iterdir() if not path.name.startswith(".")]
    return in_order({name.removesuffix(suffix) for name in names if name.endswith(suffix)} - {""})


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """Return names of splits with ``train``, ``dev``, ``test`` and ``testall`` first, the rest sorted."""
    known = [name for name in SPLIT_ORDER if name in names]
    return (*known, *sorted(set(names) - set(known)))


def wrong_root(root: Path, first: str, captions_suffix: str) -> DataError:
    """Return the error for a data folder without the expected files: ``first``, and captions."""
    state = f"has {listing(root)}" if root.is_dir() else "does not exist"
    if root.exists() and not root.is_dir():
        state = "is not a folder"
    return DataError(
        f"the data folder {root} {state}; expected {first} and {{split}}{captions_suffix} for train, dev and "
        f"test, the captions as {CAPTION_FILES[captions_suffix]}{other_captions(root)}; name the folder with "
        "--data-root, such as --data-root f30k_precomp"
    )


def other_captions(root: Path) -> str:
    """Say that a caption file of another format, such as ``train_caps.csv``, is not read; else nothing."""
    files = sorted(root.iterdir()) if root.is_dir() else []
    found = [path.name for path in files if path.stem.endswith("_caps") and not path.name.startswith(".")]
    others = [name for name in found if not name.endswith(tuple(CAPTION_FILES))]
    return f"; {others[0]} is not read, convert it" if others else ""


def listing(root: Path) -> str:
    """Name the first few files of a folder."""
    return some_of(sorted(path.name for path in root.iterdir())) or "no file in it"


def attempt(problems: list[str], read: Callable[[], Value]) -> Value | None:
    """Call a reader; on failure, append the reason to ``problems`` and return None."""
    try:
        return read()
    except DataError as error:
        problems.append(str(error))
        return None
