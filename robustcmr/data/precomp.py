"""Folders of precomputed features and captions: Flickr8K, Flickr30K, MS-COCO and others laid out alike."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
from pydantic import Field

from robustcmr.data.base import PairsSplit
from robustcmr.data.captions import read_captions, read_ids
from robustcmr.data.folder import DamagedSplitError, FeatureFolder, attempt
from robustcmr.data.store import NpyFeatures
from robustcmr.errors import DataError
from robustcmr.options import Options

CAPTIONS_SUFFIX = "_caps.txt"
IDS_SUFFIX = "_ids.txt"
COMPARED_IMAGES = 5


class Precomputed(FeatureFolder):
    """A folder with ``{split}_ims.npy``, ``{split}_caps.txt`` and perhaps ``{split}_ids.txt`` for each split.

    The captions of an image follow each other, one a line. Each image is stored once, or once for each of its
    captions; the number of rows tells. The identifiers may be one an image or one a caption. A file
    ``{split}_txts.npy`` holds a precomputed vector of every caption, for matchers that read those.

    Args:
        config: where the folder is, how many captions each image has and whether the pairs are trusted.

    Raises:
        DataError: there is no such folder, or it has no file of this layout.
    """

    class Config(Options):
        """Where the folder is, how many captions each image has and whether the pairs are trusted."""

        root: Path = Field(description="folder with {split}_ims.npy and {split}_caps.txt")
        captions_per_image: int = Field(5, ge=1, description="captions of each image, one after another")
        trusted: bool = Field(
            True,
            description="whether the training pairs are known to be right as written; set false for pairs "
            "harvested from the web, so that nothing is judged against them",
        )

    captions_suffix = CAPTIONS_SUFFIX

    def __init__(self, config: Config) -> None:
        self._captions_per_image = config.captions_per_image
        self._trusted = config.trusted
        super().__init__(config.root)

    @property
    def captions_per_image(self) -> int:
        """Captions of each image."""
        return self._captions_per_image

    def _open(self, name: str) -> PairsSplit:
        problems: list[str] = []
        features = attempt(problems, lambda: NpyFeatures(self.features_path(name)))
        captions = attempt(problems, lambda: read_captions(self.captions_path(name)))
        ids_path = self._root / (name + IDS_SUFFIX)
        ids = attempt(problems, lambda: read_ids(ids_path)) if ids_path.exists() else None
        each = self._captions_per_image
        if captions is not None and features is not None:
            stored, n_captions = features, len(captions)
            features = attempt(problems, lambda: once_an_image(stored, n_captions, each))
        if captions is not None and ids is not None:
            given, n_captions = ids, len(captions)
            ids = attempt(problems, lambda: names_of_images(ids_path, given, n_captions, each))
        vectors = None
        if captions is not None:
            n_texts = len(captions)
            vectors = attempt(problems, lambda: self.text_vectors(name, n_texts))
        if problems or features is None or captions is None:
            raise DamagedSplitError(problems)
        image_of_caption = np.arange(len(captions), dtype=np.int64) // each
        trusted = self._trusted or name != "train"
        return PairsSplit(
            name,
            features,
            captions,
            image_of_caption,
            image_names=ids,
            trusted=trusted,
            text_vectors=vectors,
        )


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
    rows = features.shape[0]
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
        copies = features.take(np.arange(first, first + captions_per_image, dtype=np.int64))
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
