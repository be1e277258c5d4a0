from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit

from robustcmr.audit.repeats import (
    group_terms,
    mismatch_log_odds,
    pasted_prior,
    pasted_probability,
    rest_shift,
)


def test_terms_are_the_formula() -> None:
    chance, share = np.array([0.9, 0.2, 0.001]), 0.3
    expected = [math.log((1 - 1 / 3) * p / share + 1 / 3) for p in chance]
    np.testing.assert_allclose(group_terms(chance, share, np.full(3, 3)), expected)


def test_pasted_and_fitting_captions_are_told_apart() -> None:
    share, rng = 0.2, np.random.default_rng(0)
    random, right = expit(rng.normal(2, 1, (40, 12))), expit(rng.normal(-5, 1, (40, 12)))
    sums = [
        group_terms(p.ravel(), share, np.full(p.size, 12)).reshape(40, 12).sum(1) for p in (random, right)
    ]
    both = np.concatenate(sums)
    prior = pasted_prior(both)
    assert prior == pytest.approx(0.5, abs=0.02)
    pasted = pasted_probability(both, prior)
    assert pasted[:40].min() > 0.99
    assert pasted[40:].max() < 0.01


def test_wrong_within_a_pasted_caption_is_bayes() -> None:
    share, n, odds = 0.2, 4, 0.7
    ratio = expit(odds) / share  # f_1 / f
    right = (1 - share * ratio) / (1 - share)  # f_0 / f
    expected = (1 - 1 / n) * ratio / ((1 - 1 / n) * ratio + right / n)
    found = mismatch_log_odds(np.array([odds]), np.array([1.0]), share, np.array([n]))
    assert expit(found[0]) == pytest.approx(expected)


def test_a_caption_that_occurs_once_keeps_its_odds() -> None:
    odds = np.array([-3.0, 0.0, 4.0])
    found = mismatch_log_odds(odds, np.zeros(3), 0.3, np.ones(3), shift=-0.5)
    np.testing.assert_allclose(found, odds - 0.5)


def test_no_repeated_caption_and_none_alone() -> None:
    assert pasted_prior(np.empty(0)) == 0.5
    assert rest_shift(np.empty(0), 0.3) == 0.0


def test_shift_finds_the_share_of_the_rest() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(50_000) < 0.1
    value = np.where(wrong, rng.normal(-2, 1, 50_000), rng.normal(2, 1, 50_000))
    odds = -4 * value + logit(0.3)  # log f_1 / f_0 of these normals is -4 value; prior of all pairs 0.3
    shift = rest_shift(odds, 0.3)
    assert expit(odds + shift).mean() == pytest.approx(wrong.mean(), abs=0.005)
