"""Mismatched pairs: caption rows given another image than the one they were written for.

Two rules go by the name of "40% noise", and they are different experiments:

- ``caption``: ``int(ratio * n_captions)`` caption rows are chosen and exchange their images. Nearly every
  image keeps a true caption: with five captions, an image loses all of them with probability about
  ``ratio ** 5``. On the 29,000 training images of Flickr30K, 0 / 1.0 / 3.1 / 7.7 / 33 percent of the images
  are left without a true caption at ratio 0.2 / 0.4 / 0.5 / 0.6 / 0.8.
- ``image``: ``int(ratio * n_images)`` images are chosen and exchange places together with all their captions.
  The share of images without a true caption is the ratio itself, less those that return by chance.

A plain shuffle returns a few chosen rows to their own image; ``derange`` forbids it.
The generator is NumPy's legacy ``RandomState``: its stream is frozen, and published files were made with it.
"""

from __future__ import annotations

from typing import overload

import numpy as np

from noise_injection import checks
from noise_injection.checks import PROTOCOLS, Array, IntArray, NoiseError
from noise_injection.records import NoiseRecord, counted


@overload
def make_mismatch(
    truth: int | Array,
    ratio: float,
    /,
    *,
    protocol: str = "caption",
    seed: int = 0,
    derange: bool = False,
    data_fingerprint: str | None = None,
    captions_per_image: int | None = None,
) -> tuple[IntArray, NoiseRecord]: ...


@overload
def make_mismatch(
    truth: int | Array,
    n_images: int | None = None,
    ratio: float | None = None,
    protocol: str = "caption",
    seed: int = 0,
    derange: bool = False,
    data_fingerprint: str | None = None,
    *,
    captions_per_image: int | None = None,
) -> tuple[IntArray, NoiseRecord]: ...


def make_mismatch(
    truth: int | Array,
    n_images: float | None = None,
    ratio: float | None = None,
    protocol: str = "caption",
    seed: int = 0,
    derange: bool = False,
    data_fingerprint: str | None = None,
    *,
    captions_per_image: int | None = None,
) -> tuple[IntArray, NoiseRecord]:
    """Give a random part of the captions a wrong image: ``make_mismatch(145000, 0.4)``.

    Rows (or images) ``0..n-1`` are shuffled, the first ``int(ratio * n)`` are chosen, and their image indices
    are shuffled among them, all with one generator. The product is truncated in floating point, so that
    ``0.29 * 100`` chooses 28. With ``protocol="caption"`` and ``derange=False`` the result equals, byte for
    byte, the files published for Flickr30K and MS-COCO.

    Args:
        truth: (n_captions,) integers, the image each caption was written for; or the number of captions, of
            images with ``captions_per_image`` consecutive captions each.
        n_images: number of images; some may have no caption. None for as many as the captions name. Where
            the ratio is not given, this argument is the ratio, as in ``make_mismatch(truth, 0.4)``.
        ratio: share of the caption rows (``caption``) or images (``image``) to choose, in [0, 1).
        protocol: one of ``PROTOCOLS``.
        seed: seed of the generator, from 0 to 2**32 - 1.
        derange: keep every chosen caption from returning to its own image, also through another caption of
            that image.
        data_fingerprint: name of the data set to keep in the record.
        captions_per_image: captions of each image where ``truth`` is a number; None for 5.

    Returns:
        The image given to each caption row, (n_captions,) int64, and the record. Ratio 0 returns the truth
        and a record with protocol ``none``.

    Raises:
        NoiseError: ``derange`` is impossible for the chosen rows.

    Example:
        >>> given, record = make_mismatch(20, 0.4)  # captions of 4 images, five each
        >>> given.tolist()
        [0, 3, 0, 0, 0, 1, 2, 1, 2, 1, 0, 2, 2, 1, 2, 3, 3, 3, 3, 1]
        >>> given, record = make_mismatch(20, 0.5, protocol="image", seed=1, captions_per_image=2)
        >>> record.n_images, record.ratio_realised
        (10, 0.4)
        >>> given, record = make_mismatch(np.arange(20) // 5, 4, 0.4, "caption", seed=0, derange=True)
        >>> int((given != np.arange(20) // 5).sum()), record.ratio_realised
        (8, 0.4)
    """
    if ratio is None:
        n_images, ratio = None, n_images
    if ratio is None:
        raise NoiseError("the noise ratio is missing; give it, such as make_mismatch(145000, 0.4)")
    truth, n_images = _pairing(truth, n_images, captions_per_image)
    ratio, seed = checks.ratio(ratio), checks.seed(seed)
    protocol = checks.choice(protocol, PROTOCOLS, "noise protocol")
    generator = np.random.RandomState(seed)
    exchange = shuffle_deranged if derange else shuffle
    if protocol == "caption":
        rows = choose(truth.size, ratio, generator)
        index = truth.copy()
        index[rows] = exchange(truth[rows], generator)
        n_chosen = rows.size
    else:
        images = choose(n_images, ratio, generator)
        place = np.arange(n_images, dtype=np.int64)
        place[images] = exchange(images, generator)
        index = place[truth]
        n_chosen = int(np.isin(truth, images).sum())
    return index, NoiseRecord(
        protocol=protocol if ratio > 0 else "none",
        ratio_asked=ratio,
        seed=seed,
        derange=bool(derange),
        data_fingerprint=data_fingerprint,
        n_chosen=n_chosen,
        **counted(index, truth, n_images),
    )


def _pairing(truth: int | Array, n_images: float | None, each: int | None) -> tuple[IntArray, int]:
    """Return the true image of each caption and the number of images."""
    if np.ndim(truth) == 0:
        count = checks.whole(truth, "number of captions")
        truth = checks.regular_truth(count, checks.CAPTIONS_PER_IMAGE if each is None else each)
    elif each is not None:
        raise NoiseError("the truth says which captions belong to an image; leave captions_per_image out")
    pairing = np.asarray(truth)
    if n_images is None:
        n_images = int(checks.vector(pairing, None, "the true pairing").max()) + 1
    most = checks.whole(n_images, "number of images")
    return checks.truth(pairing, most), most


def choose(count: int, ratio: float, generator: np.random.RandomState) -> IntArray:
    """Return the first ``int(ratio * count)`` of ``0..count - 1`` in random order."""
    return shuffle(np.arange(count, dtype=np.int64), generator)[: int(ratio * count)]


def shuffle(own: IntArray, generator: np.random.RandomState) -> IntArray:
    """Return the same values in random order."""
    given = own.copy()
    generator.shuffle(given)
    return given


def shuffle_deranged(own: IntArray, generator: np.random.RandomState) -> IntArray:
    """Shuffle the image that each place owns, (k,) int64, so that no place keeps its own; values may repeat.

    Starts from the plain shuffle that noise without ``derange`` uses, then swaps each place that kept its
    value with a random place that neither has nor owns that value. Such a place exists as long as no value
    fills more than half of all places, and each swap repairs at least one place, so the loop ends. Every
    valid result can occur, with nearly but not exactly equal probability.

    Raises:
        NoiseError: one value fills more than half of all places, so some place must keep it.
    """
    values, counts = np.unique(own, return_counts=True)
    if counts.size and 2 * int(counts.max()) > own.size:
        image = int(values[counts.argmax()])
        if own.size == 1:
            raise NoiseError(
                f"the noise ratio chooses a single row or image (image {image}), which has no other to "
                "exchange with; use a larger ratio or leave derange out"
            )
        raise NoiseError(
            f"{counts.max()} of the {own.size} chosen caption rows belong to image {image}, more than half, "
            "so one must keep its image; use another seed or ratio, or leave derange out"
        )
    given = shuffle(own, generator)
    for place in np.flatnonzero(given == own):
        if given[place] != own[place]:  # repaired by an earlier swap
            continue
        image = own[place]
        partners = np.flatnonzero((own != image) & (given != image))
        partner = partners[generator.randint(partners.size, dtype=np.int64)]
        given[place], given[partner] = given[partner], given[place]
    return given
