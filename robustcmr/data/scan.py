"""Statistics of features and captions, and the numbers that make features unusable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.data.base import FeatureStore
from robustcmr.data.store import NpyFeatures, count_non_finite, iterate_blocks, non_finite_images
from robustcmr.data.tokens import tokenize
from robustcmr.data.vocabulary import Vocabulary
from robustcmr.errors import DataError

NAMED = 10
"""Damaged entries named in a message."""


@dataclass(frozen=True)
class FeatureReport:
    """Statistics of the features of a split.

    Attributes:
        shape: (n_images, R, F); (rows, R, F) if the captions could not be read.
        dtype: number type in the file; None if there is no file.
        file_bytes: size of the file; None if there is no file.
        images_scanned: images that the following numbers cover.
        minimum: smallest finite number; None if there is none.
        maximum: largest finite number; None if there is none.
        mean: mean of all finite numbers; None if there is none.
        non_finite_images: images with NaN or infinity.
        non_finite_first: the first ten of them, each with its number of such regions.
        zero_images: images whose numbers are all zero.
        zero_first: the first ten of them.
    """

    shape: tuple[int, int, int]
    dtype: str | None
    file_bytes: int | None
    images_scanned: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    non_finite_images: int
    non_finite_first: tuple[tuple[int, int], ...]
    zero_images: int
    zero_first: tuple[int, ...]


@dataclass(frozen=True)
class CaptionReport:
    """Statistics of the captions of a split.

    Attributes:
        count: number of captions.
        shortest: words of the shortest caption, without start and end marks.
        mean_length: mean number of words.
        longest: words of the longest caption.
        empty: captions without a word.
        duplicates: captions equal to an earlier one.
        known_share: share of the words that are in the vocabulary, 0..1; None without a vocabulary.
    """

    count: int
    shortest: int
    mean_length: float
    longest: int
    empty: int
    duplicates: int
    known_share: float | None


def scan_features(store: FeatureStore) -> FeatureReport:
    """Read features in blocks of bounded memory and measure them."""
    scanned, n_finite, total = 0, 0, 0.0
    low, high = math.inf, -math.inf
    damaged: list[tuple[int, int]] = []
    zero: list[int] = []
    for first, block in iterate_blocks(store):  # (k, R, F)
        scanned += len(block)
        zero.extend((first + np.flatnonzero(~block.any(axis=(1, 2)))).tolist())
        values: npt.NDArray[np.floating[Any]] = block
        if not (math.isfinite(float(block.min())) and math.isfinite(float(block.max()))):
            regions = count_non_finite(block)  # (k,)
            damaged.extend((first + int(i), int(regions[i])) for i in np.flatnonzero(regions))
            values = block[np.isfinite(block)]  # (n,)
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            total += float(values.sum(dtype=np.float64))
            n_finite += values.size
    return FeatureReport(
        shape=store.shape,
        dtype=None if (stored := getattr(store, "dtype", None)) is None else str(stored),  # of files
        file_bytes=store.path.stat().st_size if isinstance(store, NpyFeatures) else None,
        images_scanned=scanned,
        minimum=low if n_finite else None,
        maximum=high if n_finite else None,
        mean=total / n_finite if n_finite else None,
        non_finite_images=len(damaged),
        non_finite_first=tuple(damaged[:NAMED]),
        zero_images=len(zero),
        zero_first=tuple(zero[:NAMED]),
    )


def scan_captions(captions: Sequence[str], vocabulary: Vocabulary | None = None) -> CaptionReport:
    """Tokenise captions and measure them; the share of known words needs a vocabulary."""
    lengths, known = np.zeros(len(captions), dtype=np.int64), 0
    words_of = tokenize if vocabulary is None else vocabulary.words_of
    for row, caption in enumerate(captions):
        words = words_of(caption)
        lengths[row] = len(words)
        known += sum(word in vocabulary for word in words) if vocabulary is not None else 0
    total = int(lengths.sum())
    return CaptionReport(
        count=len(captions),
        shortest=int(lengths.min()) if lengths.size else 0,
        mean_length=total / len(captions) if captions else 0.0,
        longest=int(lengths.max(initial=0)),
        empty=int((lengths == 0).sum()),
        duplicates=len(captions) - len(set(captions)),
        known_share=None if vocabulary is None else (known / total if total else 1.0),
    )


def refuse_non_finite(split: str, stores: Mapping[str, FeatureStore | None]) -> None:
    """Raise a :class:`DataError` unless all features are finite; a key is a plural, such as ``images``."""
    for things, store in stores.items():
        if store is not None and (found := non_finite_images(store)):
            several = store.shape[1] > 1
            places = ", ".join(
                f"{things[:-1]} {row}" + (f" ({regions} regions)" if several else "")
                for row, regions in found[:3]
            )
            raise DataError(
                f"the {split} features hold NaN or infinite numbers in {len(found)} of {store.shape[0]} "
                f"{things}, first {places}; repair the file, 'robustcmr data check' lists more"
            )


def named(items: Sequence[object], count: int | None = None) -> str:
    """Join the first ten items by commas, with an ellipsis if there are more, or if ``count`` is more."""
    more = ", ..." if (len(items) if count is None else count) > NAMED else ""
    return ", ".join(str(item) for item in items[:NAMED]) + more
