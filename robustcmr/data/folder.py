"""Folders of precomputed features: what all layouts share, whatever their caption files look like."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, TypeVar

from robustcmr.data.base import PairsData, PairsSplit
from robustcmr.data.fingerprint import fingerprint
from robustcmr.data.store import NpyFeatures
from robustcmr.errors import DataError

Value = TypeVar("Value")
FEATURES_SUFFIX = "_ims.npy"
TEXT_VECTORS_SUFFIX = "_txts.npy"
SPLIT_ORDER = ("train", "dev", "test", "testall")


class DamagedSplitError(DataError):
    """A split cannot be opened, for one reason or several.

    Args:
        problems: at least one sentence.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; and ".join(self.problems))


class FeatureFolder(PairsData):
    """A folder with ``{split}_ims.npy`` and a caption file for each split, and perhaps ``{split}_txts.npy``.

    Args:
        root: the folder.

    Raises:
        DataError: there is no such folder, or it has no file of this layout.
    """

    captions_suffix: ClassVar[str]
    """End of the caption files' names."""

    published_images: ClassVar[Mapping[str, tuple[int, ...]]] = MappingProxyType({})
    """Images a split has where it was published, all releases; empty where there is no published data set."""

    def __init__(self, root: Path) -> None:
        self._root = check_root(root, self.captions_suffix)
        self._opened: dict[str, PairsSplit] = {}

    @abstractmethod
    def _open(self, name: str) -> PairsSplit:
        """Read a split that has both its files."""

    def splits(self) -> tuple[str, ...]:
        """Names of the splits that have both features and captions, ``train`` first."""
        return find_splits(self._root, self.captions_suffix)[0]

    def split(self, name: str) -> PairsSplit:
        """Open a split; features stay on disk.

        Raises:
            DataError: there is no such split, or its files are damaged or do not fit each other.
        """
        if name not in self._opened:
            require_split(self._root, self.captions_suffix, name)
            self._opened[name] = self._open(name)
        return self._opened[name]

    def fingerprint(self, split: str) -> str:
        """A short hash of a split's captions and features, the same on every machine."""
        opened = self.split(split)
        if opened.features is None:
            raise DataError(f"{self._root}: the {split} split has no features")
        return fingerprint(opened.captions, opened.features, opened.text_vectors)

    def features_path(self, split: str) -> Path:
        """The feature file of a split."""
        return self._root / (split + FEATURES_SUFFIX)

    def captions_path(self, split: str) -> Path:
        """The caption file of a split."""
        return self._root / (split + self.captions_suffix)

    def text_vectors(self, split: str, n_captions: int) -> NpyFeatures | None:
        """Precomputed vectors of a split's captions, (n_captions, 1, V); None where there is no such file.

        Raises:
            DataError: the file is damaged, or has not one row a caption.
        """
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
        """What is wrong with the folder as a whole: splits of which one file is missing."""
        return list(find_splits(self._root, self.captions_suffix)[1].values())


def check_root(root: Path, captions_suffix: str) -> Path:
    """The data folder, made sure to exist and to hold at least one file of the layout.

    Raises:
        DataError: it does not.
    """
    layout = f"expected {{split}}{FEATURES_SUFFIX} and {{split}}{captions_suffix} for train, dev and test"
    root = root.expanduser()
    if not root.is_dir():
        state = "is no folder" if root.exists() else "does not exist"
        raise DataError(f"the data folder {root} {state}; {layout}; name the folder with --data-root")
    complete, halves = find_splits(root, captions_suffix)
    if not complete and not halves:
        raise DataError(
            f"the data folder {root} has {listing(root)}; {layout}; name the folder with --data-root"
        )
    return root


def listing(root: Path, most: int = 8) -> str:
    """Say what is in a folder, naming the first few files."""
    names = sorted(path.name for path in root.iterdir())
    if not names:
        return "no file in it"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def find_splits(root: Path, captions_suffix: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Find the splits of a folder from its file names.

    Args:
        root: an existing folder.
        captions_suffix: end of the caption files' names.

    Returns:
        The splits with both files, ``train`` first; and for each with one file only, a sentence saying what
        is missing.
    """
    names = [path.name for path in root.iterdir() if not path.name.startswith(".")]
    with_features = {name.removesuffix(FEATURES_SUFFIX) for name in names if name.endswith(FEATURES_SUFFIX)}
    with_captions = {name.removesuffix(captions_suffix) for name in names if name.endswith(captions_suffix)}
    complete = sorted(with_features & with_captions, key=_order)
    halves = {}
    for split in sorted(with_features ^ with_captions, key=_order):
        there, missing = split + FEATURES_SUFFIX, split + captions_suffix
        if split in with_captions:
            there, missing = missing, there
        halves[split] = f"{root} has {there} but no {missing}; a split needs both"
    return tuple(complete), halves


def _order(split: str) -> tuple[int, str]:
    return (SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER)), split


def require_split(root: Path, captions_suffix: str, name: str) -> None:
    """Make sure that a split has both its files.

    Raises:
        DataError: it has not.
    """
    complete, halves = find_splits(root, captions_suffix)
    if name in halves:
        raise DataError(halves[name])
    if name not in complete:
        raise DataError(f"{root} has no split {name!r}; it has {', '.join(complete) or 'no complete split'}")


def attempt(problems: list[str], read: Callable[[], Value]) -> Value | None:
    """Call a reader; where it fails, note why and return None, so that all problems are found at once."""
    try:
        return read()
    except DataError as error:
        problems.append(str(error))
        return None
