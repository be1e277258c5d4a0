"""Checks of what the caller gives, shared by all modules, and the regular pairing most data sets have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from noise_injection.errors import NoiseError

IntArray = npt.NDArray[np.int64]

PROTOCOLS: tuple[str, ...] = ("caption", "image")
"""Names of the rules by which pairs can be mismatched."""


def regular_truth(n_captions: int, captions_per_image: int) -> IntArray:
    """The pairing in which consecutive caption rows belong to one image.

    Args:
        n_captions: number of caption rows, at least 1.
        captions_per_image: how many consecutive rows an image has, at least 1.

    Returns:
        (n_captions,) int64, entry ``i`` being ``i // captions_per_image``.

    Raises:
        NoiseError: a number is below 1, or the captions do not divide evenly among images.
    """
    if captions_per_image < 1:
        raise NoiseError(f"an image has {captions_per_image} captions; give a whole number of at least 1")
    if n_captions < 1:
        raise NoiseError(f"there are {n_captions} captions; give a whole number of at least 1")
    if n_captions % captions_per_image:
        raise NoiseError(
            f"{n_captions} captions do not divide into images of {captions_per_image} captions each; "
            "check the number of captions and of captions per image"
        )
    return np.arange(n_captions, dtype=np.int64) // captions_per_image


def check_integers(values: npt.NDArray[Any], what: str) -> IntArray:
    """Return a vector of whole numbers as int64.

    Args:
        values: an array of any type and shape.
        what: what the array is, to begin the error message with.

    Returns:
        (n,) int64 in the byte order of this machine; the array itself where it is that already.

    Raises:
        NoiseError: the array is not a vector, is empty, or holds no whole numbers.
    """
    if values.ndim != 1:
        raise NoiseError(f"{what} has shape {values.shape}; expected a vector with one image index a row")
    if values.dtype.kind not in "iu":
        raise NoiseError(f"{what} holds {values.dtype} numbers; expected whole numbers (int64)")
    if values.size == 0:
        raise NoiseError(f"{what} is empty; expected one image index a row")
    if values.dtype.kind == "u" and int(values.max()) > np.iinfo(np.int64).max:
        raise NoiseError(f"{what} holds numbers too large for int64; expected image indices")
    return values.astype(np.int64, copy=False)


def check_range(values: IntArray, n_images: int, what: str) -> None:
    """Refuse image indices that no image has.

    Args:
        values: (n,) int64, at least one entry.
        n_images: number of images.
        what: what the array is, to begin the error message with.

    Raises:
        NoiseError: an entry is outside ``0..n_images - 1``.
    """
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= n_images:
        raise NoiseError(
            f"{what} has entries from {low} to {high}; expected image indices from 0 to {n_images - 1}"
        )


def check_truth(truth: npt.NDArray[Any], n_images: int) -> IntArray:
    """Return the true pairing as int64, checked against the number of images.

    Args:
        truth: (n_captions,) whole numbers, the image each caption was written for.
        n_images: number of images; some may have no caption.

    Raises:
        NoiseError: it is not a vector of image indices.
    """
    checked = check_integers(np.asarray(truth), "the true pairing")
    check_range(checked, n_images, "the true pairing")
    return checked


def check_ratio(ratio: float) -> float:
    """Return the noise ratio as a float.

    Raises:
        NoiseError: it is not a finite number in [0, 1).
    """
    number = not isinstance(ratio, bool) and isinstance(ratio, (int, float, np.integer, np.floating))
    if not number or not math.isfinite(ratio) or not 0 <= ratio < 1:
        raise NoiseError(
            f"the noise ratio is {ratio!r}; expected a number of at least 0 and below 1, such as 0.4"
        )
    return float(ratio)


def check_seed(seed: int) -> int:
    """Return the seed as an int.

    Raises:
        NoiseError: it is not a whole number from 0 to 2**32 - 1, the range of the legacy generator.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
        raise NoiseError(f"the noise seed is {seed!r}; expected a whole number from 0 to {2**32 - 1}")
    return int(seed)


def check_protocol(protocol: str) -> str:
    """Return the protocol's name.

    Raises:
        NoiseError: there is no such protocol.
    """
    if protocol not in PROTOCOLS:
        raise NoiseError(f"there is no noise protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    return protocol
