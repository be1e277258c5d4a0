"""Random batches of large data for a pass that scores every pair, ordered so that each image is read once.

An image with five captions belongs to five pairs. In a random order over a file larger than memory it is
read from disk five times. Here stretches of neighbouring images, drawn from all over the file, form windows
of 256 MiB, and pairs are shuffled within a window: its images stay in the operating system's cache until all
their pairs were used.
"""

from __future__ import annotations

import numpy as np

from robustcmr.types import IntArray

STRETCH_BYTES = 4 * 2**20
WINDOW_BYTES = 256 * 2**20
"""Size of a window as float32. Smaller data is one window, shuffled as a whole."""

LEAST_PARTS = 2  # a window; with one, all its pairs would be in the same batch in every order


def shuffled_parts(
    given: IntArray, n_parts: int, stretch: int, window: int, generator: np.random.Generator
) -> list[IntArray]:
    """Divide all pairs into random parts of nearly equal size, window by window.

    The result depends on the arguments alone, not on where the features are.

    Args:
        given: (N,) the image given to each pair.
        n_parts: number of parts, 1..N.
        stretch: neighbouring images that stay in the same window.
        window: approximate number of images of a window.
        generator: source of randomness.

    Returns:
        The parts, each (k,) pair ids; together a single permutation where one window holds all pairs.
    """
    images = int(given.max()) + 1
    per_window = max(LEAST_PARTS, round(n_parts * window / images))
    if per_window >= n_parts:
        return np.array_split(generator.permutation(len(given)), n_parts)
    turn = generator.permutation(-(-images // stretch))  # when each stretch is read
    parts = np.array_split(np.argsort(turn[given // stretch], kind="stable"), n_parts)
    for first in range(0, n_parts, per_window):
        inside = parts[first : first + per_window]
        mixed = generator.permutation(np.concatenate(inside))
        parts[first : first + per_window] = np.split(mixed, np.cumsum([len(part) for part in inside])[:-1])
    return parts
