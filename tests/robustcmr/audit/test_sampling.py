"""Samples do not depend on pieces, keep pictures whole and have the right share."""

import numpy as np
import pytest

from robustcmr.audit.sampling import Smallest, mixed, seeded


def draw(codes, size, pieces, seed=0):
    chosen = Smallest(size)
    for part in np.array_split(np.arange(len(codes)), pieces):
        chosen.add(seeded(codes[part], seed), part)
    return chosen.numbers()


@pytest.mark.parametrize("size", [1, 10, 250, 999, 5000])
def test_the_pieces_do_not_matter(size):
    codes = np.random.default_rng(0).integers(0, 200, 1000).astype(np.uint64)
    whole = draw(codes, size, 1)
    for pieces in (2, 7, 1000):
        np.testing.assert_array_equal(draw(codes, size, pieces), whole)
    assert len(whole) <= size
    assert (np.diff(whole) > 0).all()
    assert len(whole) > size - 40 or len(whole) == 1000 or size < 10  # of whole pictures
    if size >= 10:  # all pairs of a drawn picture, or none
        drawn = np.isin(codes, codes[whole])
        np.testing.assert_array_equal(np.flatnonzero(drawn), whole)


def test_a_picture_with_more_pairs_than_the_sample_gives_its_first():
    codes = np.full(100, 5, np.uint64)
    for pieces in (1, 3, 50):
        np.testing.assert_array_equal(draw(codes, 7, pieces), np.arange(7))


def test_seeds_draw_other_pictures():
    codes = np.arange(1000, dtype=np.uint64)
    first, second = draw(codes, 100, 1), draw(codes, 100, 1, seed=1)
    assert len(np.intersect1d(first, second)) < 30
    assert abs(first.mean() - 500) < 90  # of all


def test_the_mix_is_that_of_splitmix64():
    """The first outputs of the published generator with seed 0."""
    gamma = 0x9E3779B97F4A7C15
    states = np.array([n * gamma % 2**64 for n in range(3)], np.uint64)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert mixed(states).tolist() == expected
