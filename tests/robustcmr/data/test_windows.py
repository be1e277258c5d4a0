"""Random parts of windows of a large file."""

from __future__ import annotations

import numpy as np
import pytest

from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.windows import WindowFeatures, shuffled_windows


def rng(seed=0):
    return np.random.default_rng(seed)


def large(n_images=1000, each=5, seed=0):
    return rng(seed).permutation(np.repeat(np.arange(n_images), each))


def test_small_data_is_one_permutation():
    given = large(20)
    windows = shuffled_windows(given, 8, 4, 20, rng(3))
    assert len(windows) == 1
    expected = np.array_split(rng(3).permutation(100), 8)
    for part, right in zip(windows[0], expected, strict=True):
        np.testing.assert_array_equal(part, right)


def test_every_pair_once_in_even_parts():
    windows = shuffled_windows(large(), 39, 10, 100, rng())
    assert len(windows) == 10
    sizes = [len(part) for window in windows for part in window]
    assert len(sizes) == 39
    assert max(sizes) - min(sizes) <= 1
    ids = np.concatenate([part for window in windows for part in window])
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(np.sort(ids), np.arange(5000))


def test_a_window_reads_its_images_in_stretches_from_all_over_and_no_other_window_reads_them():
    given = large()
    windows = shuffled_windows(given, 40, 10, 100, rng())
    read = [np.unique(given[np.concatenate(window)]) for window in windows]
    assert all(95 <= len(images) <= 120 for images in read)
    assert sum(len(images) for images in read) <= 1000 + 20 * len(windows)
    for images in read:
        stretches = np.flatnonzero(np.diff(images) != 1).size + 1
        assert stretches <= 13  # not a hundred
        assert images.max() - images.min() > 500
    parts = [part for window in windows for part in window]
    spread = [len(np.unique(given[part] // 10)) for part in parts]
    assert min(spread) >= 8  # a part has pairs of most of the stretches of its window


def test_pairs_of_an_image_do_not_gather_in_one_part():
    """Within a window the parts are as random as a permutation: captions of an image meet by chance alone."""
    given = np.repeat(np.arange(1000), 5)
    met = [
        np.mean([len(np.unique(given[part])) for window in windows for part in window])
        for windows in (shuffled_windows(given, 50, 10, 200, rng(seed)) for seed in range(3))
    ]
    assert min(met) > 75  # of 100; 80 are expected of 20 windows' images, and 20 if captions stayed together


def test_order_follows_the_generator():
    given = large()
    one, same, other = (shuffled_windows(given, 40, 10, 100, rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one[0], same[0], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one[0], other[0], strict=True))


def test_a_window_has_at_least_two_parts():
    windows = shuffled_windows(large(), 10, 1, 1, rng())
    assert [len(window) for window in windows] == [2] * 5


def test_held_entries_are_those_of_the_store():
    numbers = rng().normal(size=(30, 4)).astype(np.float32)
    window = WindowFeatures(ArrayFeatures(numbers), np.array([7, 3, 3, 29]))
    assert window.shape == (30, 1, 4)
    wanted = np.array([29, 3, 7, 3])
    np.testing.assert_array_equal(window.take(wanted)[:, 0], numbers[wanted])
    for outside in (0, 4, 30):
        with pytest.raises(IndexError, match="outside of the window"):
            window.take(np.array([3, outside]))
