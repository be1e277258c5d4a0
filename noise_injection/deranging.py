"""Shuffles in which no place keeps its own value."""

from __future__ import annotations

import numpy as np

from noise_injection.checks import IntArray
from noise_injection.errors import NoiseError


def shuffle_deranged(own: IntArray, generator: np.random.RandomState) -> IntArray:
    """Shuffle image indices so that no place keeps its own.

    Starts from the plain shuffle that noise without ``derange`` uses, then swaps each place that kept its
    value with a random place that neither has nor owns that value. Such a place exists as long as no value
    fills more than half of all places, and each swap repairs at least one place, so the loop ends. Every
    valid result can occur, with nearly but not exactly equal probability.

    Args:
        own: (k,) int64, the image each place owns; values may repeat.
        generator: advanced by one shuffle and one draw per swap.

    Returns:
        (k,) int64, the same values with ``result[i] != own[i]`` everywhere.

    Raises:
        NoiseError: one value fills more than half of all places, so some place must keep it.

    Example:
        >>> shuffle_deranged(np.array([0, 0, 1, 1]), np.random.RandomState(0)).tolist()
        [1, 1, 0, 0]
    """
    values, counts = np.unique(own, return_counts=True)
    if counts.size and 2 * int(counts.max()) > own.size:
        image = int(values[counts.argmax()])
        if own.size == 1:
            raise NoiseError(
                f"the noise ratio chooses a single row or image (image {image}), which has none to exchange "
                "with; use a larger ratio or leave derange out"
            )
        raise NoiseError(
            f"{counts.max()} of the {own.size} chosen caption rows belong to image {image}, more than half, "
            "so one must keep its image; use another seed or ratio, or leave derange out"
        )
    given = own.copy()
    generator.shuffle(given)
    for place in np.flatnonzero(given == own):
        if given[place] != own[place]:  # repaired by an earlier swap
            continue
        image = own[place]
        partners = np.flatnonzero((own != image) & (given != image))
        partner = partners[generator.randint(partners.size, dtype=np.int64)]
        given[place], given[partner] = given[partner], given[place]
    return given
