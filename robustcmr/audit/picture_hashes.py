"""Hashes of picture files: of bytes for equal files, of differences of brightness for near-equal pictures.

A difference hash (64 bits) survives another size, format, compression or slight change of brightness. It does
not survive cropping, turning, mirroring or a frame, and nothing is claimed of these.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from PIL import Image

from robustcmr.audit.duplicate_groups import Connected, Duplicates, grouped
from robustcmr.audit.signatures import ones, runs
from robustcmr.data.picture_files import MAX_PIXELS, decode_picture
from robustcmr.types import IntArray

DIFFERENT = 3
"""Bits of 64 that near-equal pictures differ in, at most."""

LEAST_CONTRAST = 16
"""Least range of brightness, of 255, after shrinking; below it, noise decides the bits."""

_BANDS = 5  # two of them are equal where at most three bits differ
_WINDOW = 256  # different hashes with the same two bands that are compared with each
_COMPARED = 1 << 20  # pairs at once

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class PictureHash:
    """Hashes of a picture file.

    Attributes:
        content: of its bytes, BLAKE2b of 128 bits in hex digits.
        difference: 64 bits; None for a picture that is nearly of one brightness.
    """

    content: str
    difference: int | None


def hash_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> PictureHash:
    """Hash a picture file.

    Args:
        data: the encoded file (JPEG, PNG, ...).
        max_pixels: largest width times height.

    Raises:
        PictureError: it cannot be decoded; the message is the reason.
    """
    return PictureHash(content_hash(data), difference_hash(decode_picture(data, max_pixels)))


def content_hash(data: bytes) -> str:
    """Return the BLAKE2b hash of 128 bits of some bytes, in hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def difference_hash(picture: Image.Image) -> int | None:
    """Return which of 8 x 8 places are brighter than the next to the right; the first bit is the highest.

    Args:
        picture: in RGB, upright.

    Returns:
        64 bits, or None if the picture, shrunk to 9 x 8, is nearly of one brightness.

    Example:
        >>> falling = Image.linear_gradient("L").rotate(90)
        >>> hex(difference_hash(falling.convert("RGB")))
        '0x0'
        >>> difference_hash(Image.new("RGB", (50, 40), "red")) is None
        True
    """
    small = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    if small.max() - small.min() < LEAST_CONTRAST:
        return None
    return int.from_bytes(np.packbits(small[:, :-1] > small[:, 1:]).tobytes(), "big")


def near_equal(hashes: Hashes, known: npt.NDArray[np.bool_] | None = None) -> Duplicates:
    """Find the hashes that differ in at most :data:`DIFFERENT` bits from an earlier one.

    The 64 bits are cut into five bands. Three different bits leave two bands equal, so hashes are sorted by
    each two of the bands, and compared with those whose two bands are the same (Manku et al., 2007). That
    finds every pair, unless over 256 different hashes share two bands.

    Args:
        hashes: (n,) difference hashes.
        known: (n,) which of them are there; all by default.

    Returns:
        Rows and the first row of the group of each, at most so many bits apart; ``unfinished`` counts the
        places where a group of hashes with the same bands was too large to compare all.

    Example:
        >>> found = near_equal(np.array([0, 2**40 - 1, 0b111, 0b1111], np.uint64))
        >>> found.rows, found.first
        (array([2]), array([0]))
    """
    rows = np.arange(len(hashes)) if known is None else np.flatnonzero(known)
    values, first, of = np.unique(hashes[rows], return_index=True, return_inverse=True)
    connected = Connected()
    again = first[of] < np.arange(len(rows))
    connected.join(rows[again], rows[first[of[again]]])  # equal hashes
    compared = unfinished = 0
    for bands in combinations(range(_BANDS), 2):
        keys = values & np.uint64(sum(_band(band) for band in bands))
        order = np.argsort(keys, kind="stable")
        for left, right, more in runs(keys[order], _WINDOW):
            unfinished += more
            compared += len(left)
            for start in range(0, len(left), _COMPARED):
                a, b = order[left[start : start + _COMPARED]], order[right[start : start + _COMPARED]]
                near = _near(values[a], values[b])
                connected.join(rows[first[a[near]]], rows[first[b[near]]])
    found, leads, rest = grouped(connected, lambda a, b: _near(hashes[a], hashes[b]))
    return Duplicates(found, leads, compared, unfinished + rest)


def equal_contents(contents: npt.NDArray[np.str_]) -> tuple[IntArray, IntArray]:
    """Return the rows whose content hash an earlier row has, ascending, and the first row of each.

    Args:
        contents: (n,) content hashes; empty where a file cannot be read.

    Example:
        >>> equal_contents(np.array(["ab", "cd", "ab", "", ""]))
        (array([2]), array([0]))
    """
    _, first, of = np.unique(contents, return_index=True, return_inverse=True)
    leads = first[of].astype(np.int64)
    rows = np.flatnonzero((leads < np.arange(len(contents))) & (contents != ""))
    return rows, leads[rows]


def _near(left: Hashes, right: Hashes) -> npt.NDArray[np.bool_]:
    near: npt.NDArray[np.bool_] = ones((left ^ right)[:, None]) <= DIFFERENT
    return near


def _band(number: int) -> int:
    """The bits of a band as a mask."""
    start, end = (round(64 * place / _BANDS) for place in (number, number + 1))
    return (1 << end) - (1 << start)
