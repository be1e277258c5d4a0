"""Hashes of picture files: of bytes for equal files, of differences of brightness for near-equal pictures.

A difference hash (64 bits) survives another size, format, compression or slight change of brightness. It does
not survive cropping, turning, mirroring or a frame, and nothing is claimed of these. It knows no
colours: of a picture that is plain but for one shape, as in a catalogue, it would say the shape alone, so
there is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from robustcmr.audit.duplicate_groups import Connected
from robustcmr.audit.signatures import ones, runs
from robustcmr.errors import DataError
from robustcmr.sources.vector_keys import in_words
from robustcmr.types import IntArray

DIFFERENT = 3
"""Bits of 64 that near-equal pictures differ in, at most."""

LEAST_STEP = 2
"""Least difference of brightness, of 255, that decides a bit; below it, noise does."""

LEAST_DECIDED = 32
"""Bits of 64 that must be decided. Photographs have 50 to 60, one shape on plain ground about 25."""

COLUMNS = pa.schema([("picture_hash", pa.uint64()), ("difference_hash", pa.uint64())])
"""Hashes of pictures in the metadata of vectors; ``difference_hash`` is null where there is none."""

_BANDS = 5  # two of them are equal where at most three bits differ
_WINDOW = 256  # different hashes with the same two bands that are compared with each
_COMPARED = 1 << 20  # pairs at once

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class PictureHashes:
    """Hashes of pictures that can be compared.

    Attributes:
        contents: (n,) of their bytes; 0 where they are not known.
        differences: (n,) difference hashes.
        known: (n,) which of these there are.
    """

    contents: Hashes
    differences: Hashes
    known: npt.NDArray[np.bool_]

    def at(self, rows: IntArray) -> PictureHashes:
        """Return those of some rows (k,)."""
        return PictureHashes(self.contents[rows], self.differences[rows], self.known[rows])

    def alike(self, left: IntArray, right: IntArray) -> npt.NDArray[np.bool_]:
        """Return which rows (k,) are of the same bytes as other rows (k,), or near-equal to them."""
        same = (self.contents[left] == self.contents[right]) & (self.contents[left] > 0)
        near = _near(self.differences[left], self.differences[right]) & self.known[left] & self.known[right]
        return np.asarray(same | near)

    def connected(self) -> tuple[Connected, int]:
        """Connect the rows that are alike; see :func:`near_equal`."""
        connected, unfinished = near_equal(self.differences, self.known)
        _join_equal(connected, np.flatnonzero(self.contents), self.contents)
        return connected, unfinished


def read_hashes(files: Sequence[tuple[int, Path]], count: int) -> PictureHashes:
    """Read the hashes that stand beside vectors.

    Args:
        files: of metadata, with the number of the first vector of each; those without hashes are left out.
        count: of vectors, n.

    Raises:
        DataError: a file cannot be read.
    """
    found = PictureHashes(np.zeros(count, np.uint64), np.zeros(count, np.uint64), np.zeros(count, np.bool_))
    for start, path in files:
        try:
            schema = pq.read_schema(path)
            if any(schema.get_field_index(field.name) < 0 for field in COLUMNS):
                continue  # made before there were hashes
            contents, differences = pq.read_table(path, columns=COLUMNS.names).cast(COLUMNS).columns
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"cannot read {path}: {in_words(error)}; make the vectors again") from error
        rows = slice(start, start + len(contents))
        found.contents[rows] = contents.to_numpy()
        found.differences[rows] = differences.fill_null(0).to_numpy()
        found.known[rows] = differences.is_valid().to_numpy()
    return found


def content_hash(data: bytes) -> int:
    """Return the BLAKE2b hash of 64 bits of some bytes."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def difference_hash(picture: Image.Image) -> int | None:
    """Return which of 8 x 8 places are brighter than the next to the right; the first bit is the highest.

    Args:
        picture: in RGB, upright.

    Returns:
        64 bits, or None if fewer than :data:`LEAST_DECIDED` of them are decided: parts of it are plain.

    Example:
        >>> falling = Image.linear_gradient("L").rotate(90)
        >>> hex(difference_hash(falling.convert("RGB")))
        '0x0'
        >>> difference_hash(Image.new("RGB", (50, 40), "red")) is None
        True
    """
    small = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    falls = small[:, :-1] - small[:, 1:]
    if np.count_nonzero(abs(falls) >= LEAST_STEP) < LEAST_DECIDED:
        return None
    return int.from_bytes(np.packbits(falls > 0).tobytes(), "big")


def near_equal(hashes: Hashes, known: npt.NDArray[np.bool_]) -> tuple[Connected, int]:
    """Connect the hashes that differ in at most :data:`DIFFERENT` bits.

    The 64 bits are cut into five bands. Three different bits leave two bands equal, so hashes are sorted by
    each two of the bands, and compared with those whose two bands are the same (Manku et al., 2007). That
    finds every pair, unless over 256 different hashes share two bands.

    Args:
        hashes: (n,) difference hashes.
        known: (n,) which of them are there.

    Returns:
        The rows connected, and the number of places where a group of hashes with the same bands was too
        large to compare all.

    Example:
        >>> connected, _ = near_equal(np.array([0, 2**40 - 1, 0b111, 0b1111], np.uint64), np.ones(4, bool))
        >>> connected.nodes, connected.labels
        (array([0, 2, 3]), array([0, 0, 0]))
    """
    connected, unfinished = Connected(), 0
    values, first = _join_equal(connected, np.flatnonzero(known), hashes)
    for bands in combinations(range(_BANDS), 2):
        keys = values & np.uint64(sum(_band(band) for band in bands))
        order = np.argsort(keys, kind="stable")
        for left, right, more in runs(keys[order], _WINDOW):
            unfinished += more
            for start in range(0, len(left), _COMPARED):
                a, b = order[left[start : start + _COMPARED]], order[right[start : start + _COMPARED]]
                near = _near(values[a], values[b])
                connected.join(first[a[near]], first[b[near]])
    return connected, unfinished


def _join_equal(connected: Connected, rows: IntArray, hashes: Hashes) -> tuple[Hashes, IntArray]:
    """Connect those of some rows whose hashes are equal; return the distinct ones and the first of each."""
    values, first, of = np.unique(hashes[rows], return_index=True, return_inverse=True)
    again = first[of] < np.arange(len(rows))
    connected.join(rows[again], rows[first[of[again]]])
    return values, rows[first]


def _near(left: Hashes, right: Hashes) -> npt.NDArray[np.bool_]:
    near: npt.NDArray[np.bool_] = ones((left ^ right)[:, None]) <= DIFFERENT
    return near


def _band(number: int) -> int:
    """The bits of a band as a mask."""
    start, end = (round(64 * place / _BANDS) for place in (number, number + 1))
    return (1 << end) - (1 << start)
