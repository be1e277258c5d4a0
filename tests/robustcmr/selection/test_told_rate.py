from __future__ import annotations

import numpy as np
import pytest

from robustcmr.selection import told_noise_rate
from robustcmr.types import Division


def division(rate, interval=None):
    clean = np.array([0.9, 0.2, 0.1])
    return Division(clean, 0.5, clean > 0.5, 1 - clean, True, "two groups", rate, interval)


@pytest.mark.parametrize(
    ("rate", "fitted", "told"),
    [
        (0.42, (0.41, 0.43), (0.38, 0.46)),
        (0.42, (0.30, 0.43), (0.30, 0.46)),
        (0.42, (0.41, 0.60), (0.38, 0.60)),
        (0.02, (0.01, 0.03), (0.0, 0.06)),
        (0.98, (0.97, 0.99), (0.94, 1.0)),
    ],
)
def test_an_interval_is_never_narrower_than_four_points_either_side(rate, fitted, told):
    found = division(rate, fitted)
    given = told_noise_rate(found, found)
    assert given.noise_interval == pytest.approx(told)
    assert given.noise_rate == rate
    assert given.reason == "two groups"


def test_nothing_is_told_early():
    found = division(0.42, (0.41, 0.43))
    given = told_noise_rate(found, found, early=True)
    assert (given.noise_rate, given.noise_interval) == (None, None)
    assert given.reason == "the matcher has trained for too few epochs to tell"
    assert given.is_clean is found.is_clean


@pytest.mark.parametrize(("of_matcher", "is_told"), [(0.3, True), (0.75, True), (0.81, False), (None, False)])
def test_a_rate_by_words_and_image_features_needs_a_matcher_that_agrees(of_matcher, is_told):
    first = division(0.63, (0.42, 0.72))
    given = told_noise_rate(first, division(of_matcher))
    assert (given.noise_rate is not None) == is_told
    assert given.clean_probability is first.clean_probability
    if not is_told:
        seen = "cannot tell" if of_matcher is None else "finds 81% wrong"
        told = "with the words and image features 63% of the pairs look wrong"
        assert given.reason == f"{told}, but the matcher alone {seen}"


def test_a_rate_without_an_interval_is_left_as_it_is():
    for found in (division(0.42), division(None)):
        assert told_noise_rate(found, found, early=True) is found
