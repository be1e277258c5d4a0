"""Folders of precomputed features and captions: Flickr8K, Flickr30K, MS-COCO and others of this layout."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from pydantic import Field

from robustcmr.data.base import PairsSplit
from robustcmr.data.captions import read_captions, read_ids
from robustcmr.data.folder import TRUSTED_PAIRS, DamagedSplitError, FeatureFolder, attempt
from robustcmr.data.pairing import Files, check_count, pair_captions
from robustcmr.data.store import NpyFeatures
from robustcmr.options import Options

CAPTIONS_SUFFIX = "_caps.txt"
IDS_SUFFIX = "_ids.txt"


class Precomputed(FeatureFolder):
    """A folder of precomputed region features with several captions an image.

    Expected files, with n images of C captions each::

        ROOT/
          train_ims.npy      (n, R, F) or (n * C, R, F) float16 or float32; (n, F) for one vector an image
          train_caps.txt     n * C lines, a caption each
          train_ids.txt      optional, the identifier of each image, n lines, or of each caption, n * C lines
          train_txts.npy     optional, (n * C, V), a vector a caption
          dev_ims.npy ...    the same for dev, test and any other split

    All captions of an image follow one another, unless their identifiers repeat and so say which image each
    belongs to, in any number: see :func:`robustcmr.data.pairing.pair_captions`.

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
        files = Files(self.features_path(name), self.captions_path(name), self._root / (name + IDS_SUFFIX))
        features = attempt(problems, lambda: NpyFeatures(files.features))
        captions = attempt(problems, lambda: read_captions(files.captions))
        ids = attempt(problems, lambda: read_ids(files.ids)) if files.ids.exists() else None
        pairing = vectors = None
        if captions is not None:
            n = len(captions)
            if (given := ids) is not None:
                rows = None if features is None else features.shape[0]
                attempt(problems, lambda: check_count(files, given, n, each, rows))
            if (stored := features) is not None:
                pairing = attempt(problems, lambda: pair_captions(files, stored, n, each, ids))
            vectors = attempt(problems, lambda: self.text_vectors(name, n))
        if problems or pairing is None or captions is None:
            raise DamagedSplitError(problems)
        return self._paired(name, pairing, captions, self._trusted or name != "train", vectors)


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
