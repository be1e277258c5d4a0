"""Pairs whose truth is known: images and captions of random topics, some of them exchanged."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robustcmr.audit.calibration import Sample
from robustcmr.audit.similarity import unit


@dataclass(frozen=True)
class Made:
    sample: Sample
    wrong: np.ndarray


def made_pairs(
    images: int = 1500,
    captions: int = 1,
    wrong: float = 0.3,
    noise: float = 1.6,
    width: int = 32,
    seed: int = 0,
) -> Made:
    """Pairs of unit vectors; ``wrong`` of the captions are exchanged among themselves."""
    rng = np.random.default_rng(seed)
    topics = unit(rng.normal(size=(images, width)).astype(np.float32))

    def seen(rows: np.ndarray) -> np.ndarray:
        return unit(
            topics[rows] + noise / width**0.5 * rng.normal(size=(len(rows), width)).astype(np.float32)
        )

    codes = np.repeat(np.arange(images), captions)
    pictures = seen(np.arange(images))[codes]
    texts = seen(codes)
    count = round(wrong * len(codes))
    moved = rng.permutation(len(codes))[:count]
    source = np.roll(moved, 1)
    texts[moved] = texts[source]
    is_wrong = np.zeros(len(codes), bool)
    is_wrong[moved] = codes[moved] != codes[source]
    return Made(Sample(pictures, texts, codes, np.arange(len(codes))), is_wrong)


def paste(made: Made, texts: int, copies: int, seed: int = 0) -> Made:
    """Replace captions of ``texts`` x ``copies`` right pairs by a few that are pasted beside many images."""
    rng = np.random.default_rng(seed)
    right = rng.permutation(np.flatnonzero(~made.wrong))[: texts * copies].reshape(texts, copies)
    vectors, codes, wrong = made.sample.texts.copy(), made.sample.caption_codes.copy(), made.wrong.copy()
    for group in right:
        vectors[group[1:]], codes[group[1:]], wrong[group[1:]] = vectors[group[0]], codes[group[0]], True
    return Made(replace(made.sample, texts=vectors, caption_codes=codes), wrong)
