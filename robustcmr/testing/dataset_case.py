"""A data set to check, and questions about its splits that depend on the track."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustcmr.data.base import FeatureStore, LabelledData, LabelledSplit, PairsData, PairsSplit
from robustcmr.data.store import evenly_spaced
from robustcmr.testing.report import NotApplicable, array_of
from robustcmr.types import FloatArray, IntArray

UNKNOWN_SPLIT = "no-such-split"

Split = PairsSplit | LabelledSplit


@dataclass(frozen=True)
class DataCase:
    """A data set to check, opened ``again`` if possible, and how many entries of a split to sample."""

    data: PairsData | LabelledData
    again: PairsData | LabelledData | None
    sample: int

    @property
    def splits(self) -> list[Any]:
        """Every split, opened."""
        return [self.data.split(name) for name in self.data.splits()]

    def splits_with(self, part: str, otherwise: str) -> list[Any]:
        """Return the splits that have a part; raise :class:`NotApplicable` with a reason if none has it."""
        found = [split for split in self.splits if getattr(split, part) is not None]
        if not found:
            raise NotApplicable(otherwise)
        return found

    @property
    def stores(self) -> Iterator[tuple[str, FeatureStore]]:
        """All features and vectors, each with a name such as ``features of train``."""
        for split in self.splits:
            for what, store in stores_of(split).items():
                yield f"{what} of {split.name}", store

    def some(self, n: int) -> IntArray:
        """Return a few evenly spaced indices of 0..n-1."""
        return evenly_spaced(n, self.sample)

    def sampled(self, store: FeatureStore) -> FloatArray:
        """Read some evenly spaced entries."""
        return store.take(self.some(store.shape[0]))

    def content(self, split: Split) -> dict[str, Any]:
        """Return the arrays and sequences that distinguish a split from others, by name."""
        found: dict[str, Any] = {what: self.sampled(store) for what, store in stores_of(split).items()}
        if isinstance(split, PairsSplit):
            return {"captions": split.captions, "pairing": split.image_of_caption, **found}
        return {
            **{"labels": split.labels, "class_names": split.class_names, "captions": split.captions},
            **found,
        }


def stores_of(split: Split) -> dict[str, FeatureStore]:
    """Return the features and vectors of a split by name."""
    if isinstance(split, LabelledSplit):
        return {"images": split.images, "texts": split.texts}
    found = {"features": split.features, "text_vectors": split.text_vectors}
    return {what: store for what, store in found.items() if store is not None}


def n_images(split: Split) -> int:
    """Return the number of images of a split."""
    return split.n_images if isinstance(split, PairsSplit) else len(split)


def n_texts(split: Split) -> int:
    """Return the number of texts of a split."""
    return len(split.captions) if isinstance(split, PairsSplit) else len(split)


def misshapen(what: str, store: FeatureStore, chosen: IntArray) -> Iterator[str]:
    """Yield problems with the shape, type and numbers of some entries."""
    shape = store.shape
    if len(shape) != 3 or min(shape) < 1:
        yield f"{what} announce the shape {shape}"
        return
    found = store.take(chosen)
    expected = (len(chosen), *shape[1:])
    if not isinstance(found, np.ndarray) or found.shape != expected or found.dtype != np.float32:
        yield f"{what}: take of {len(chosen)} entries gave {array_of(found)}, not float32 of {expected}"
    elif not np.isfinite(found).all():
        bad = int((~np.isfinite(found).all(axis=(1, 2))).sum())
        yield f"{what}: {bad} of the {len(chosen)} sampled entries hold NaN or infinite numbers"


def unequal(what: str, widths: Mapping[str, int | None]) -> Iterator[str]:
    """Yield a problem if the widths by split are not all the same."""
    if len(set(widths.values())) > 1:
        yield f"the splits have {what} of different widths, {dict(widths)}"
