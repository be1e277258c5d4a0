"""Certainty of differences against known distributions, full enumeration and scipy."""

import dataclasses
from itertools import product

import numpy as np
import pytest
from scipy import stats

from robustcmr.reporting.significance import query_tests, seed_test


def single(values, **options):
    """The bootstrap of a plain mean."""
    return query_tests([np.asarray(values)[:, None]], [np.ones(len(values))], **options)[0]


def test_interval_of_a_normal_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(0.03, 2.0, 2000)
    found = single(values, resamples=20_000)
    error = values.std() / np.sqrt(2000)
    assert found.difference == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.05 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.05 * error)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(values.mean()) / error), rel=0.1)


def test_interval_of_a_share_is_that_of_the_binomial_distribution():
    """What queries found count for: 120 of 400, whose resampled number is exactly binomial(400, 0.3)."""
    found = single(np.repeat([100.0, 0.0], [120, 280]), resamples=40_000)
    low, high = stats.binom.ppf([0.025, 0.975], 400, 0.3) / 4
    assert found.low == pytest.approx(low, abs=0.26)  # one query is 0.25
    assert found.high == pytest.approx(high, abs=0.26)


def test_the_interval_holds_the_truth_in_95_of_100_cases():
    rng = np.random.default_rng(1)
    values = rng.normal(1.0, 1.0, (100, 400))  # 400 experiments of 100 queries, drawn together
    tests = query_tests([values], [np.ones(100)], resamples=1000)
    held = np.mean([test.low <= 1.0 <= test.high for test in tests])
    assert 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400) - 0.01 < held < 0.985


def test_captions_of_an_image_are_no_independent_witnesses():
    """Five equal captions an image: the interval is that of the images, not sqrt(5) times narrower."""
    by_image = np.random.default_rng(2).normal(size=500)
    alone = single(by_image, resamples=4000)
    grouped = query_tests([5 * by_image[:, None]], [np.full(500, 5.0)], resamples=4000)[0]
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high))


def test_parts_add_up_and_groups_may_be_empty():
    rng = np.random.default_rng(3)
    first, second, counts = rng.normal(size=50), rng.normal(size=50), rng.integers(0, 4, 50).astype(float)
    second[counts == 0] = 0
    found = query_tests([first[:, None], second[:, None]], [np.ones(50), counts])[0]
    assert found.difference == pytest.approx(first.mean() + second.sum() / counts.sum())
    assert found.low < found.difference < found.high


def test_draws_are_seeded_and_the_same_in_blocks(monkeypatch):
    values = np.random.default_rng(4).normal(size=300)
    once = single(values)
    assert single(values) == once
    assert single(values, seed=1) != once
    monkeypatch.setattr("robustcmr.reporting.significance._CELLS", 1000)
    assert dataclasses.astuple(single(values)) == pytest.approx(dataclasses.astuple(once))


def test_no_difference_at_all():
    found = single(np.zeros(10))
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize("values", [[1.0, 2.0], [0.5, -0.25, 3.0], [1.0, 1.0, -1.0, 2.0, 0.1, 0.0]])
def test_sign_flips_against_enumeration(values):
    means = [abs(np.dot(signs, values)) for signs in product([1, -1], repeat=len(values))]
    found = seed_test(values)
    assert found.p_value == np.mean([mean >= abs(sum(values)) - 1e-12 for mean in means])
    assert (found.difference, found.n_seeds, found.test) == (
        pytest.approx(np.mean(values)),
        len(values),
        "sign flips, exact",
    )


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_all_of_one_sign_is_the_smallest_p_there_is(n):
    assert seed_test([0.1 * (k + 1) for k in range(n)]).p_value == 2 / 2**n


def test_sign_flips_against_scipy():
    values = np.random.default_rng(5).normal(0.4, 1.0, 10)
    expected = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert seed_test(values.tolist()).p_value == pytest.approx(expected.pvalue)


def test_many_seeds_are_tested_by_student():
    values = np.random.default_rng(6).normal(0.4, 1.0, 17)
    found = seed_test(values.tolist())
    assert found.test == "paired t"
    assert found.p_value == pytest.approx(stats.ttest_rel(values, np.zeros(17)).pvalue)
    assert seed_test([0.0] * 17).p_value == 1.0
    assert seed_test([1.0] * 17).p_value == 0.0


def test_one_seed_tells_nothing():
    found = seed_test([3.0])
    assert (found.difference, found.p_value, found.test) == (3.0, None, "none, one seed")
