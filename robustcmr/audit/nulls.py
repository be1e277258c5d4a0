"""Pairs mismatched on purpose: random partners, and partners that come close.

Each image gets one other caption in place of one of its own, so that its remaining captions judge the
stranger as they would judge one that came with the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robustcmr.types import FloatArray, IntArray

MOST_CAPTIONS = 20
"""Captions of an image that count; one image with thousands would otherwise be all that is known."""

_BLOCK = 512  # rows whose neighbours are searched at once
_SAME = 0.995  # captions more similar than this count as the same


@dataclass(frozen=True)
class Exchange:
    """Captions put in place of given ones.

    Attributes:
        rows: (m,) ascending rows whose caption is replaced, one an image.
        partners: (m,) rows whose caption they get.
    """

    rows: IntArray
    partners: IntArray


def one_row_an_image(image_codes: IntArray, most: int, rng: np.random.Generator) -> IntArray:
    """Return one random row of each image, at most ``most`` of them, ascending."""
    shuffled = rng.permutation(len(image_codes))
    _, first = np.unique(image_codes[shuffled], return_index=True)
    rows = shuffled[first]
    return np.sort(rng.permutation(rows)[:most])


def by_captions(rows: IntArray, image_codes: IntArray) -> IntArray:
    """Repeat rows, one an image, in proportion to their image's captions, :data:`MOST_CAPTIONS` at most.

    Given pairs of an image with many captions are many; so must be the pairs that they are compared with. The
    number of rows returned is the effective sample size, so that errors count what is really known.

    References:
        Kish, Survey Sampling, 1965, for the size; Kitagawa, 1996, for systematic resampling.
    """
    _, groups, counts = np.unique(image_codes, return_inverse=True, return_counts=True)
    weights = np.minimum(counts[groups[rows]], MOST_CAPTIONS).astype(np.float64)
    size = max(1, int(weights.sum() ** 2 / (weights**2).sum() + 1e-9))
    places = (np.arange(size) + 0.5) / size * weights.sum()
    repeated: IntArray = rows[np.minimum(np.searchsorted(weights.cumsum(), places), len(rows) - 1)]
    return repeated


def random_partners(
    rows: IntArray,
    image_codes: IntArray,
    caption_codes: IntArray,
    folds: IntArray,
    rng: np.random.Generator,
) -> Exchange:
    """Give each row the caption of a random other image of its fold; rows without one are left out.

    A head has seen no caption of its own fold, be it given wrongly or put there on purpose.
    """
    order = np.argsort(folds, kind="stable")
    first = np.searchsorted(folds[order], folds[rows], side="left")
    count = np.searchsorted(folds[order], folds[rows], side="right") - first

    def drawn() -> IntArray:
        return order[first + (rng.random(len(rows)) * count).astype(np.int64)]

    partners = drawn()
    for _ in range(20):
        clash = _clash(rows, partners, image_codes, caption_codes)
        if not clash.any():
            break
        partners[clash] = drawn()[clash]
    good = ~_clash(rows, partners, image_codes, caption_codes)
    return Exchange(rows[good], partners[good])


def partners_of_near_images(
    rows: IntArray, images: FloatArray, image_codes: IntArray, caption_codes: IntArray
) -> Exchange:
    """Give each row the caption of the most similar other image.

    Args:
        rows: (m,).
        images: (n, D) unit vectors, one a pair.
        image_codes: (n,).
        caption_codes: (n,).
    """
    return _nearest(rows, images, image_codes, caption_codes, same=2.0)


def partners_of_near_captions(
    rows: IntArray, texts: FloatArray, image_codes: IntArray, caption_codes: IntArray
) -> Exchange:
    """Give each row the most similar caption of another image: the near miss of an exchanged caption."""
    return _nearest(rows, texts, image_codes, caption_codes, same=_SAME)


def _nearest(
    rows: IntArray, vectors: FloatArray, image_codes: IntArray, caption_codes: IntArray, same: float
) -> Exchange:
    partners = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        products = vectors[block] @ vectors.T  # (b, n)
        closed = image_codes[block][:, None] == image_codes[None]
        closed |= caption_codes[block][:, None] == caption_codes[None]
        products[closed | (products > same)] = -2.0
        partners[start : start + _BLOCK] = products.argmax(axis=1)
    good = ~_clash(rows, partners, image_codes, caption_codes)
    return Exchange(rows[good], partners[good])


def _clash(
    rows: IntArray, partners: IntArray, image_codes: IntArray, caption_codes: IntArray
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(
        (image_codes[rows] == image_codes[partners]) | (caption_codes[rows] == caption_codes[partners])
    )
