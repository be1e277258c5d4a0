"""Shuffles in which nothing stays where it belongs."""

from __future__ import annotations

import numpy as np

from noise_injection.checks import IntArray
from noise_injection.errors import NoiseError


def shuffle_deranged(own: IntArray, generator: np.random.RandomState) -> IntArray:
    """Shuffle image indices so that no place keeps the value it had.

    It begins with an ordinary shuffle, the one noise without ``derange`` would get, and mends what stayed:
    each such place swaps with a random place that neither has nor owns its value. As long as no value is more
    than half of all, such a place exists, and each swap leaves at least one fewer to mend, so it always ends.
    All results that keep the rule can occur; they are close to equally likely, not exactly.

    Args:
        own: (k,) int64, the image each place owns; values may repeat.
        generator: source of chance; moved on by the shuffle and one draw a swap.

    Returns:
        (k,) int64, the same values with ``result[i] != own[i]`` everywhere.

    Raises:
        NoiseError: one value is more than half of all, so that some place must keep it.
    """
    values, counts = np.unique(own, return_counts=True)
    if counts.size and 2 * int(counts.max()) > own.size:
        raise NoiseError(_impossible(own.size, int(values[counts.argmax()]), int(counts.max())))
    given = own.copy()
    generator.shuffle(given)
    for place in np.flatnonzero(given == own):
        if given[place] != own[place]:  # an earlier swap has mended it
            continue
        image = own[place]
        partners = np.flatnonzero((own != image) & (given != image))
        partner = partners[generator.randint(partners.size, dtype=np.int64)]
        given[place], given[partner] = given[partner], given[place]
    return given


def _impossible(chosen: int, image: int, share: int) -> str:
    if chosen == 1:
        return (
            f"the noise ratio chooses a single row or image (image {image}), which has no other to "
            "exchange with; use a larger ratio or leave derange out"
        )
    return (
        f"{share} of the {chosen} chosen caption rows belong to image {image}, more than half, so one must "
        "keep its image; use another seed or ratio, or leave derange out"
    )
