"""Folders of precomputed features and captions: Flickr8K, Flickr30K, MS-COCO and others of this layout."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
from pydantic import Field

from robustcmr.data.base import PairsSplit
from robustcmr.data.captions import read_captions, read_ids
from robustcmr.data.folder import TRUSTED_PAIRS, DamagedSplitError, FeatureFolder, attempt
from robustcmr.data.store import NpyFeatures, evenly_spaced
from robustcmr.errors import DataError
from robustcmr.options import Options

CAPTIONS_SUFFIX = "_caps.txt"
IDS_SUFFIX = "_ids.txt"
COMPARED_IMAGES = 5


class Precomputed(FeatureFolder):
    """A folder of precomputed region features with several captions an image.

    Expected files, with n images of C captions each, all captions of an image one after another::

        ROOT/
          train_ims.npy      (n, R, F) or (n * C, R, F) float16 or float32; (n, F) for one vector an image
          train_caps.txt     n * C lines, a caption each
          train_ids.txt      optional, n or n * C lines, an identifier each
          train_txts.npy     optional, (n * C, V), a vector a caption
          dev_ims.npy ...    the same for dev, test and any other split

    Args:
        config: where the folder is, how many captions each image has and whether the pairs are trusted.

    Raises:
        DataError: there is no such folder, or it has no file of this layout.
    """

    class Config(Options):
        """Where the folder is, how many captions each image has and whether the pairs are trusted."""

        root: Path = Field(description="folder with {split}_ims.npy and {split}_caps.txt")
        captions_per_image: int = Field(5, ge=1, description="captions of each image, one after another")
        trusted: bool = Field(True, description=TRUSTED_PAIRS)

    captions_suffix = CAPTIONS_SUFFIX

    def __init__(self, config: Config) -> None:
        self.captions_per_image = config.captions_per_image
        self._trusted = config.trusted
        super().__init__(config.root)

    def _open(self, name: str) -> PairsSplit:
        each = self.captions_per_image
        problems: list[str] = []
        features = attempt(problems, lambda: NpyFeatures(self.features_path(name)))
        captions = attempt(problems, lambda: read_captions(self.captions_path(name)))
        ids_path = self._root / (name + IDS_SUFFIX)
        ids = attempt(problems, lambda: read_ids(ids_path)) if ids_path.exists() else None
        vectors = None
        if captions is not None:
            n = len(captions)
            if (stored := features) is not None:
                features = attempt(problems, lambda: once_an_image(stored, n, each))
            if (given := ids) is not None:
                ids = attempt(problems, lambda: names_of_images(ids_path, given, n, each))
            vectors = attempt(problems, lambda: self.text_vectors(name, n))
        if problems or features is None or captions is None:
            raise DamagedSplitError(problems)
        return PairsSplit(
            name,
            features,
            captions,
            np.arange(len(captions), dtype=np.int64) // each,
            image_names=ids,
            trusted=self._trusted or name != "train",
            text_vectors=vectors,
        )


class Flickr8K(Precomputed):
    """Flickr8K as precomputed features: 6,000, 1,000 and 1,000 images; files as for ``precomp``."""

    published_images = MappingProxyType({"train": (6000,), "dev": (1000,), "test": (1000,)})


class Flickr30K(Precomputed):
    """Flickr30K as precomputed features: 29,000, 1,014 or 1,000, and 1,000 images; files as ``precomp``."""

    published_images = MappingProxyType({"train": (29000,), "dev": (1014, 1000), "test": (1000,)})


class Coco(Precomputed):
    """MS-COCO as precomputed features; files as for ``precomp``.

    ``testall`` holds the 5,000 test images, ``test`` often a fifth of them.
    """

    published_images = MappingProxyType(
        {"train": (113287,), "dev": (5000, 1000), "test": (1000, 5000), "testall": (5000,)}
    )


def once_an_image(features: NpyFeatures, n_captions: int, captions_per_image: int) -> NpyFeatures:
    """Return a store with one entry an image; the number of rows says whether copies must be skipped.

    Raises:
        DataError: there are neither as many rows as images nor as captions, or the copies of an image differ.
    """
    rows = features.shape[0]
    if rows * captions_per_image == n_captions:
        return features
    n_images, left_over = divmod(n_captions, captions_per_image)
    if left_over:
        raise DataError(
            f"{features.path} has {rows} rows for {n_captions} captions, which is not a multiple of "
            f"{captions_per_image}, the captions of an image; set captions_per_image to that of the data"
        )
    if rows != n_captions:
        raise DataError(
            f"{features.path} has {rows} rows for {n_captions} captions; with {captions_per_image} captions "
            f"an image, {n_images} or {n_captions} rows were expected"
        )
    for first in (evenly_spaced(n_images, COMPARED_IMAGES) * captions_per_image).tolist():
        copies = features.take(np.arange(first, first + captions_per_image, dtype=np.int64))
        if not np.array_equal(copies, np.broadcast_to(copies[:1], copies.shape), equal_nan=True):
            raise DataError(
                f"{features.path} has one row a caption, but rows {first} to "
                f"{first + captions_per_image - 1}, which should be the same image, differ; set "
                f"captions_per_image, now {captions_per_image}, to that of the data"
            )
    return NpyFeatures(features.path, repeats=captions_per_image)


def names_of_images(path: Path, ids: list[str], n_captions: int, captions_per_image: int) -> list[str] | None:
    """Return one name an image; None if each caption has an identifier of its own."""
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
