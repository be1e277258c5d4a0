"""Random parts of large data, window by window."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from robustcmr.data.scoring_order import shuffled_parts


def rng(seed=0):
    return np.random.default_rng(seed)


def large(n_images=1000, each=5, seed=0):
    return rng(seed).permutation(np.repeat(np.arange(n_images), each))


def test_small_data_is_one_permutation():
    given = large(20)
    expected = np.array_split(rng(3).permutation(100), 8)
    for part, right in zip(shuffled_parts(given, 8, 4, 20, rng(3)), expected, strict=True):
        np.testing.assert_array_equal(part, right)


def test_every_pair_once_in_even_parts():
    parts = shuffled_parts(large(), 39, 10, 100, rng())
    sizes = [len(part) for part in parts]
    assert len(sizes) == 39
    assert max(sizes) - min(sizes) <= 1
    ids = np.concatenate(parts)
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(np.sort(ids), np.arange(5000))


def test_a_window_reads_its_images_in_stretches_from_all_over_and_no_other_window_reads_them():
    given = large()
    parts = shuffled_parts(given, 40, 10, 100, rng())
    windows = [parts[first : first + 4] for first in range(0, 40, 4)]
    read = [np.unique(given[np.concatenate(window)]) for window in windows]
    assert all(95 <= len(images) <= 120 for images in read)
    assert sum(len(images) for images in read) <= 1000 + 20 * len(windows)
    for images in read:
        stretches = np.flatnonzero(np.diff(images) != 1).size + 1
        assert stretches <= 13  # not a hundred
        assert images.max() - images.min() > 500
    spread = [len(np.unique(given[part] // 10)) for part in parts]
    assert min(spread) >= 8  # a part has pairs of most of the stretches of its window


def test_pairs_of_an_image_do_not_gather_in_one_part():
    """Within a window the parts are as random as a permutation: captions of an image meet by chance alone."""
    given = np.repeat(np.arange(1000), 5)
    met = [
        np.mean([len(np.unique(given[part])) for part in shuffled_parts(given, 50, 10, 200, rng(seed))])
        for seed in range(3)
    ]
    assert min(met) > 75  # of 100; 80 are expected of 20 windows' images, and 20 if captions stayed together


def test_order_follows_the_generator():
    given = large()
    one, same, other = (shuffled_parts(given, 40, 10, 100, rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_window_has_at_least_two_parts():
    given = large()
    parts = shuffled_parts(given, 10, 1, 1, rng())
    images = [np.unique(given[part]) for part in parts]
    shared = [len(np.intersect1d(a, b)) for a, b in pairwise(images)]
    assert min(shared[::2]) > 100  # both parts of a window draw on the same 200 images
    assert max(shared[1::2]) <= 1
