"""CC152K: Conceptual Captions with one web caption an image, some of them wrong."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from pydantic import Field

from robustcmr.data.base import PairsSplit
from robustcmr.data.captions import read_captions_tsv, without_blanks
from robustcmr.data.folder import DamagedSplitError, FeatureFolder, attempt
from robustcmr.data.pairing import Files, pair_captions
from robustcmr.data.store import NpyFeatures
from robustcmr.options import Options

CAPTIONS_SUFFIX = "_caps.tsv"


class CC152K(FeatureFolder):
    """Conceptual Captions as precomputed features, with one web caption an image.

    The training pairs are not trusted: some are wrong, and nobody knows which. Lines with one identifier are
    captions of one image, see :func:`robustcmr.data.pairing.pair_captions`. Expected files::

        ROOT/
          train_ims.npy      (n, R, F) float16 or float32, a row an image
          train_caps.tsv     n lines of identifier<TAB>caption
          train_txts.npy     optional, (n, V), a vector a caption
          dev_ims.npy ...    the same for dev and test

    Args:
        config: where the folder is.

    Raises:
        DataError: there is no such folder, or it has no file of this layout.
    """

    class Config(Options):
        """Where the folder is."""

        root: Path = Field(description="folder with {split}_ims.npy and {split}_caps.tsv")

    captions_suffix = CAPTIONS_SUFFIX
    published_images = MappingProxyType({"train": (150000,), "dev": (1000,), "test": (1000,)})

    def __init__(self, config: Config) -> None:
        super().__init__(config.root)

    def _open(self, name: str) -> PairsSplit:
        problems: list[str] = []
        features = attempt(problems, lambda: NpyFeatures(self.features_path(name)))
        table = attempt(problems, lambda: read_captions_tsv(self.captions_path(name)))
        if features is None or table is None:
            raise DamagedSplitError(problems)
        captions = table[1]
        ids = without_blanks(self.captions_path(name), table[0], "identifier")
        if features.shape[0] not in (len(captions), len(set(ids))):
            counts = f"{features.path} has {features.shape[0]} rows for {len(captions)} captions"
            raise DamagedSplitError([f"{counts}; expected one row a caption"])
        files = Files(self.features_path(name), self.captions_path(name), self.captions_path(name))
        pairing = pair_captions(files, features, len(captions), 1, ids)
        vectors = self.text_vectors(name, len(captions))
        return self._paired(name, pairing, captions, name != "train", vectors)
