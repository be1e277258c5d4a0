"""Which pairs of an audit form the pool in which partners are sought: all of them up to a size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustcmr.audit.sampling import seeded
from robustcmr.types import IntArray

MOST = 200_000
"""Pairs of a pool, at most: the search compares all captions with all images."""

_OTHERS = 0.25  # of a full pool, for images without a suspected pair: what right pairs look like


def choose_pool(
    image_codes: npt.NDArray[np.uint64],
    sound: npt.NDArray[np.bool_],
    mismatched: npt.NDArray[np.float64],
    suspected: npt.NDArray[np.bool_],
    most: int = MOST,
    seed: int = 0,
) -> IntArray:
    """Return the pairs of a pool, ascending; all pairs of an image come together.

    Where there are more sound pairs than ``most``, images whose pairs are most suspected come first, and a
    quarter is kept for images without a suspected pair, drawn at random.

    Args:
        image_codes: (N,) uint64, equal for pairs of one image.
        sound: (N,) whether a pair can be used.
        mismatched: (N,) probability that it is mismatched, where it is sound.
        suspected: (N,) whether a partner is wanted.
        most: pairs, at most.
        seed: of the draw.
    """
    rows = np.flatnonzero(sound)
    if len(rows) <= most:
        return rows
    codes, image, counts = np.unique(image_codes[rows], return_inverse=True, return_counts=True)
    wanted = np.bincount(image, suspected[rows]) > 0
    room = np.bincount(image, mismatched[rows])
    hashes = seeded(codes, seed)
    taken = np.zeros(len(codes), bool)
    left = most
    for some, share in ((wanted, 1 - _OTHERS), (~wanted, 1.0)):
        places = np.flatnonzero(some)
        order = places[np.lexsort((hashes[places], -room[places] * wanted[places]))]
        first = order[np.cumsum(counts[order]) <= share * left]
        taken[first] = True
        left -= int(counts[first].sum())
    return rows[taken[image]]
