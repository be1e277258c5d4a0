"""Folders of precomputed features and captions: Flickr8K, Flickr30K, MS-COCO and others laid out alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, TypeVar

import numpy as np
from pydantic import Field

from robustcmr.data.base import PairsData, PairsSplit
from robustcmr.data.captions import read_captions, read_ids
from robustcmr.data.fingerprint import fingerprint
from robustcmr.data.store import NpyFeatures
from robustcmr.errors import DataError
from robustcmr.options import Options

Value = TypeVar("Value")
FEATURES_SUFFIX = "_ims.npy"
CAPTIONS_SUFFIX = "_caps.txt"
IDS_SUFFIX = "_ids.txt"
SPLIT_ORDER = ("train", "dev", "test", "testall")
COMPARED_IMAGES = 5


class DamagedSplitError(DataError):
    """A split cannot be opened, for one reason or several.

    Args:
        problems: at least one sentence.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; and ".join(self.problems))


class Precomputed(PairsData):
    """A folder with ``{split}_ims.npy``, ``{split}_caps.txt`` and perhaps ``{split}_ids.txt`` for each split.

    The captions of an image follow each other, one a line. Each image is stored once, or once for each of its
    captions; the number of rows tells. The identifiers may be one an image or one a caption.

    Args:
        config: where the folder is and how many captions each image has.

    Raises:
        DataError: there is no such folder, or it has no file of this layout.
    """

    class Config(Options):
        """Where the folder is and how many captions each image has."""

        root: Path = Field(description="folder with {split}_ims.npy and {split}_caps.txt")
        captions_per_image: int = Field(5, ge=1, description="captions of each image, one after another")

    published_images: ClassVar[Mapping[str, tuple[int, ...]]] = MappingProxyType({})
    """Images a split has where it was published, all releases; empty where there is no published data set."""

    def __init__(self, config: Config) -> None:
        self._captions_per_image = config.captions_per_image
        self._root = check_root(config.root, CAPTIONS_SUFFIX)
        self._opened: dict[str, PairsSplit] = {}

    @property
    def captions_per_image(self) -> int:
        """Captions of each image."""
        return self._captions_per_image

    def splits(self) -> tuple[str, ...]:
        """Names of the splits that have both features and captions, ``train`` first."""
        return find_splits(self._root, CAPTIONS_SUFFIX)[0]

    def split(self, name: str) -> PairsSplit:
        """Open a split; features stay on disk.

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
        captions = attempt(problems, lambda: read_captions(self._root / (name + CAPTIONS_SUFFIX)))
        ids_path = self._root / (name + IDS_SUFFIX)
        ids = attempt(problems, lambda: read_ids(ids_path)) if ids_path.exists() else None
        each = self._captions_per_image
        if captions is not None and features is not None:
            stored, n_captions = features, len(captions)
            features = attempt(problems, lambda: once_an_image(stored, n_captions, each))
        if captions is not None and ids is not None:
            given, n_captions = ids, len(captions)
            ids = attempt(problems, lambda: names_of_images(ids_path, given, n_captions, each))
        if problems or features is None or captions is None:
            raise DamagedSplitError(problems)
        image_of_caption = np.arange(len(captions), dtype=np.int64) // each
        return PairsSplit(name, features, captions, image_of_caption, image_names=ids)


class Flickr8K(Precomputed):
    """Flickr8K as precomputed features: 6,000, 1,000 and 1,000 images."""

    published_images = MappingProxyType({"train": (6000,), "dev": (1000,), "test": (1000,)})


class Flickr30K(Precomputed):
    """Flickr30K as precomputed features: 29,000, 1,014 (or 1,000) and 1,000 images."""

    published_images = MappingProxyType({"train": (29000,), "dev": (1014, 1000), "test": (1000,)})


class Coco(Precomputed):
    """MS-COCO as precomputed features; ``testall`` holds the 5,000 test images, ``test`` often a fifth."""

    published_images = MappingProxyType(
        {"train": (113287,), "dev": (5000, 1000), "test": (1000, 5000), "testall": (5000,)}
    )


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


def once_an_image(features: NpyFeatures, n_captions: int, captions_per_image: int) -> NpyFeatures:
    """Tell from the number of rows whether each image is stored once or once a caption.

    Args:
        features: the file's rows as they are.
        n_captions: captions of the split.
        captions_per_image: captions of each image.

    Returns:
        A store with one entry an image.

    Raises:
        DataError: rows and captions do not fit, or the copies of an image differ.
    """
    rows = features.rows
    if rows * captions_per_image == n_captions:
        return features
    n_images, left_over = divmod(n_captions, captions_per_image)
    if left_over:
        raise DataError(
            f"{features.path} has {rows} rows for {n_captions} captions, which is no multiple of "
            f"{captions_per_image}, the captions of an image; set captions_per_image to what the data has"
        )
    if rows != n_captions:
        raise DataError(
            f"{features.path} has {rows} rows for {n_captions} captions; with {captions_per_image} captions "
            f"an image, {n_images} or {n_captions} rows were expected"
        )
    images = np.unique(np.linspace(0, n_images - 1, min(COMPARED_IMAGES, n_images)).round().astype(np.int64))
    for image in images:
        first = int(image) * captions_per_image
        copies = features.block(first, first + captions_per_image)
        if not np.array_equal(copies, np.broadcast_to(copies[:1], copies.shape), equal_nan=True):
            raise DataError(
                f"{features.path} has one row a caption, but rows {first} to "
                f"{first + captions_per_image - 1}, which should be the same image, differ; set "
                f"captions_per_image, now {captions_per_image}, to what the data has"
            )
    return NpyFeatures(features.path, repeats=captions_per_image)


def names_of_images(path: Path, ids: list[str], n_captions: int, captions_per_image: int) -> list[str] | None:
    """One name an image from identifiers of images or of captions.

    Args:
        path: the file they come from, for the message.
        ids: identifiers, one an image or one a caption.
        n_captions: captions of the split.
        captions_per_image: captions of each image.

    Returns:
        The names; None where each caption has an identifier of its own, which names no image.

    Raises:
        DataError: there are neither as many identifiers as images nor as many as captions.
    """
    if len(ids) * captions_per_image == n_captions:
        return ids
    if len(ids) != n_captions:
        raise DataError(
            f"{path} has {len(ids)} identifiers for {n_captions} captions; expected one an image or one a "
            "caption"
        )
    names = ids[::captions_per_image]
    same = all(name == names[caption // captions_per_image] for caption, name in enumerate(ids))
    return names if same else None
