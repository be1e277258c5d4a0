"""Hiding parts of the input during training, so that no single region or word decides.

Rates and proportions follow the released OMIT script; the mask word is ``<unk>`` here, because the published
vocabularies hold no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from robustcmr.types import IntArray

BoolArray = npt.NDArray[np.bool_]

UNKNOWN_SHARE = 0.5  # of the corrupted words
REPLACED_SHARE = 0.1  # of the corrupted words; the rest are deleted


@dataclass(frozen=True)
class Augmentation:
    """How much is hidden.

    Attributes:
        drop_regions: chance that a region is left out, in [0, 1).
        corrupt_words: chance that a word is corrupted, in [0, 1).
        padding_index: word that fills the places that deletion frees at the end.
        unknown_index: word that stands for a masked one.
        is_word: (V,) bool, which indices stand for words; all others are marks and never changed.
    """

    drop_regions: float
    corrupt_words: float
    padding_index: int
    unknown_index: int
    is_word: BoolArray

    @cached_property
    def replacements(self) -> IntArray:
        """(k,) words that a corrupted one may be replaced by; the unknown word where there is no other."""
        words = np.flatnonzero(self.is_word)
        known = words[words != self.unknown_index]
        return known if len(known) else np.array([self.unknown_index])


def drop_regions(mask: BoolArray, rate: float, generator: np.random.Generator) -> BoolArray:
    """Leave out regions at random; every image keeps at least one.

    Args:
        mask: (N, R) bool, True where a region is real.
        rate: chance that a region is left out.
        generator: source of chance.

    Returns:
        (N, R) bool, a subset of ``mask``.
    """
    draws = generator.random(mask.shape)
    kept = mask & (draws >= rate)
    luckiest = np.where(mask, draws, -1.0).argmax(axis=1)
    empty = ~kept.any(axis=1)
    kept[empty, luckiest[empty]] = True
    return kept


def corrupt_words(
    tokens: IntArray,
    mask: BoolArray,
    options: Augmentation,
    generator: np.random.Generator,
) -> tuple[IntArray, BoolArray]:
    """Mask, replace or delete words at random; start and end marks stay.

    Args:
        tokens: (N, W) int64.
        mask: (N, W) bool, True where a word is real.
        options: the rate and the indices needed.
        generator: source of chance.

    Returns:
        New tokens and mask, (N, W) each, words moved together to the front.
    """
    is_word = mask & options.is_word[tokens]
    corrupted = is_word & (generator.random(tokens.shape) < options.corrupt_words)
    choice = generator.random(tokens.shape)
    replacement = options.replacements[generator.integers(len(options.replacements), size=tokens.shape)]
    masked = corrupted & (choice < UNKNOWN_SHARE)
    replaced = corrupted & ~masked & (choice < UNKNOWN_SHARE + REPLACED_SHARE)
    deleted = corrupted & ~masked & ~replaced
    changed = np.where(masked, options.unknown_index, np.where(replaced, replacement, tokens))
    kept = mask & ~deleted
    order = np.argsort(~kept, axis=1, kind="stable")  # kept words first, in their order
    kept = np.take_along_axis(kept, order, axis=1)
    return np.where(kept, np.take_along_axis(changed, order, axis=1), options.padding_index), kept
