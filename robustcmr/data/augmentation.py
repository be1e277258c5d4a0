"""Hide parts of the input during training, so that no single region or word decides.

Rates and proportions follow the released OMIT script; the mask word is ``<unk>``, as the published
vocabularies have no other.
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
    """Options of augmentation.

    Attributes:
        drop_regions: probability of dropping a region, in [0, 1).
        corrupt_words: probability of corrupting a word, in [0, 1).
        padding_index: index of padding.
        unknown_index: index of a masked word.
        is_word: (V,) bool, which indices are words; all others are marks and never changed.
    """

    drop_regions: float
    corrupt_words: float
    padding_index: int
    unknown_index: int
    is_word: BoolArray

    @cached_property
    def replacements(self) -> IntArray:
        """(k,) words that may replace a corrupted one; the unknown word if there is no other."""
        words = np.flatnonzero(self.is_word)
        known = words[words != self.unknown_index]
        return known if len(known) else np.array([self.unknown_index])


def drop_regions(mask: BoolArray, rate: float, generator: np.random.Generator) -> BoolArray:
    """Drop real regions of a mask (N, R) with probability ``rate``; every image keeps at least one."""
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

    Tokens are (N, W) int64; the mask (N, W) is True for real words.

    Returns:
        New tokens and mask, (N, W) each, the kept words moved to the front.
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
