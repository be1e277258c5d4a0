"""Dividing pairs: right where there are two groups, silent where there is one."""

import numpy as np
import pytest

from robustcmr.errors import TrainingDivergedError
from robustcmr.selection import divide


def two_groups(n=7500, share=0.05, seed=0):
    """Values and which of them are noisy."""
    rng = np.random.default_rng(seed)
    noisy = rng.random(n) < share
    return np.where(noisy, rng.beta(20, 8, n), rng.beta(2, 20, n)), noisy


ONE_GROUP = {
    "beta": lambda rng, n: rng.beta(2, 8, n),
    "steep": lambda rng, n: rng.beta(0.5, 5, n),
    "high": lambda rng, n: rng.beta(20, 3, n),
    "normal": lambda rng, n: rng.normal(size=n),
    "half normal": lambda rng, n: np.abs(rng.normal(size=n)),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "gamma": lambda rng, n: rng.gamma(3, size=n),
    "log-normal": lambda rng, n: rng.lognormal(0, 1, n),
    "heavy tails": lambda rng, n: rng.standard_t(4, n),
}


@pytest.mark.parametrize("model", ["beta", "gaussian"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.6, 0.8])
def test_clear_groups_are_found(model, share):
    evidence, noisy = two_groups(share=share)
    division = divide(evidence, model)
    assert division.bimodal
    assert division.reason.startswith("two groups: BIC gains")
    # the values are Beta, so the normal model places its border a little off
    assert (division.is_clean == noisy).mean() < (0.01 if model == "beta" else 0.02)
    assert division.noise_rate == pytest.approx(share, abs=0.02 if model == "beta" else 0.03)
    low, high = division.noise_interval
    assert low < division.noise_rate < high
    np.testing.assert_array_equal(division.is_clean, division.clean_probability > 0.5)
    np.testing.assert_array_equal(division.evidence, evidence)


@pytest.mark.parametrize("model", ["beta", "gaussian"])
@pytest.mark.parametrize("name", ONE_GROUP)
def test_one_group_is_left_whole(model, name):
    division = divide(ONE_GROUP[name](np.random.default_rng(1), 7500), model)
    assert not division.bimodal
    assert division.reason.startswith("one group: BIC gains")
    assert division.is_clean.all()
    assert (division.clean_probability == 1).all()
    assert (division.noise_rate, division.noise_interval) == (None, None)


def test_flat_evidence_is_one_beta():
    for seed in range(3):
        assert not divide(np.random.default_rng(seed).random(7500)).bimodal


@pytest.mark.parametrize("model", ["beta", "gaussian"])
def test_more_evidence_is_never_cleaner(model):
    rng = np.random.default_rng(0)
    evidence = np.where(rng.random(4000) < 0.4, rng.normal(0.6, 0.2, 4000), rng.normal(0.1, 0.04, 4000))
    division = divide(evidence, model)
    assert division.bimodal
    assert (np.diff(division.clean_probability[evidence.argsort()]) <= 0).all()
    assert division.is_clean[evidence.argmin()]
    assert not division.is_clean[evidence.argmax()]


@pytest.mark.parametrize("model", ["beta", "gaussian"])
def test_unit_and_order_do_not_matter(model):
    evidence, _ = two_groups(2000, 0.3)
    whole = divide(evidence, model)
    order = np.random.default_rng(1).permutation(2000)
    other = divide(evidence[order], model)
    np.testing.assert_array_equal(other.clean_probability, whole.clean_probability[order])
    scaled = divide(-5 + 1000 * evidence, model)
    np.testing.assert_allclose(scaled.clean_probability, whole.clean_probability, atol=1e-6)


def test_one_outlier_does_not_hide_the_groups():
    evidence, noisy = two_groups(2000, 0.3)
    evidence[0], noisy[0] = 1e6, True
    assert (divide(evidence).is_clean == noisy).mean() < 0.01


def test_the_threshold_is_obeyed():
    evidence, _ = two_groups(3000, 0.4)
    strict, loose = divide(evidence, threshold=0.999), divide(evidence, threshold=0.001)
    assert strict.is_clean.sum() < loose.is_clean.sum()
    np.testing.assert_array_equal(strict.is_clean, strict.clean_probability > 0.999)
    assert strict.threshold == 0.999


@pytest.mark.parametrize("evidence", [[0.4], [1, 1, 1], [0.0] * 100])
def test_the_same_evidence_for_all(evidence):
    division = divide(evidence)
    assert division.is_clean.all()
    assert division.reason == "all pairs have the same evidence"


@pytest.mark.parametrize("model", ["beta", "gaussian"])
def test_a_handful_of_pairs_is_not_divided(model):
    division = divide([0.1, 0.9], model)
    assert (division.bimodal, division.is_clean.tolist()) == (False, [True, True])
    assert division.reason == "2 pairs are too few to tell one group from two (needed 20)"
    assert not divide([0.1] * 12 + [0.9] * 7, model).bimodal
    enough = divide([0.1] * 12 + [0.9] * 8, model)
    assert enough.is_clean.tolist() == [True] * 12 + [False] * 8


def test_float32_as_the_scorer_gives_it():
    evidence, noisy = two_groups(2000, 0.3)
    division = divide(evidence.astype(np.float32))
    assert division.evidence.dtype == division.clean_probability.dtype == np.float64
    assert (division.is_clean == noisy).mean() < 0.01


def test_bad_input():
    with pytest.raises(ValueError, match="must be a vector of at least one real number"):
        divide([])
    with pytest.raises(ValueError, match=r"got float64 of shape \(2, 2\)"):
        divide(np.zeros((2, 2)))
    for bad in (np.nan, np.inf):
        with pytest.raises(TrainingDivergedError, match="1 of 3 pairs"):
            divide([0.0, bad, 1.0])
    with pytest.raises(ValueError, match="unknown mixture model 'gamma', expected 'beta' or 'gaussian'"):
        divide([0.0, 1.0], "gamma")
    for threshold in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="threshold must lie between 0 and 1"):
            divide([0.0, 1.0], threshold=threshold)
