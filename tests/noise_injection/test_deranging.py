from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_injection import NoiseError
from noise_injection.mismatch import shuffle_deranged


def possible(own: tuple[int, ...]) -> bool:
    return any(all(a != b for a, b in zip(p, own, strict=True)) for p in itertools.permutations(own))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 6])
def test_every_tiny_case_against_brute_force(length: int) -> None:
    for own in itertools.product(range(3), repeat=length):
        for seed in range(3):
            generator = np.random.RandomState(seed)
            if possible(own):
                result = shuffle_deranged(np.array(own, np.int64), generator)
                assert Counter(result.tolist()) == Counter(own)
                assert all(a != b for a, b in zip(result.tolist(), own, strict=True))
            else:
                with pytest.raises(NoiseError):
                    shuffle_deranged(np.array(own, np.int64), generator)


def test_all_derangements_occur_about_equally_often() -> None:
    own = np.arange(4)
    generator = np.random.RandomState(0)
    seen = Counter(tuple(shuffle_deranged(own, generator).tolist()) for _ in range(4000))
    assert len(seen) == 9
    assert min(seen.values()) > 0.6 * 4000 / 9
    assert max(seen.values()) < 1.5 * 4000 / 9


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 2**32 - 1))
def test_no_place_keeps_its_value(own: list[int], seed: int) -> None:
    most = max(Counter(own).values(), default=0)
    generator = np.random.RandomState(seed)
    if 2 * most > len(own):
        with pytest.raises(NoiseError, match="leave derange out"):
            shuffle_deranged(np.array(own, np.int64), generator)
        return
    result = shuffle_deranged(np.array(own, np.int64), generator)
    assert Counter(result.tolist()) == Counter(own)
    assert not any(a == b for a, b in zip(result.tolist(), own, strict=True))


def test_half_of_all_is_the_hardest_case_and_ends() -> None:
    own = np.repeat([0, 1], 500)
    result = shuffle_deranged(own, np.random.RandomState(1))
    np.testing.assert_array_equal(result, 1 - own)


def test_it_stays_near_the_plain_shuffle() -> None:
    own = np.arange(1000)
    plain = own.copy()
    np.random.RandomState(5).shuffle(plain)
    kept = int((plain == own).sum())
    assert kept > 0
    result = shuffle_deranged(own, np.random.RandomState(5))
    assert 0 < int((result != plain).sum()) <= 2 * kept


def test_messages_say_why() -> None:
    with pytest.raises(NoiseError, match="single row or image"):
        shuffle_deranged(np.array([4]), np.random.RandomState(0))
    with pytest.raises(NoiseError, match="3 of the 4 chosen caption rows belong to image 7"):
        shuffle_deranged(np.array([7, 7, 1, 7]), np.random.RandomState(0))
