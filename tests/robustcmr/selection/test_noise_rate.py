"""The noise rate and how often its interval covers the truth."""

import numpy as np
import pytest

from robustcmr.selection.beta_mixture import fit_beta_mixture
from robustcmr.selection.gaussian_mixture import fit_gaussian_mixture
from robustcmr.selection.noise_rate import at_noise_rate, noise_rate


def beta_values(rng, n, share):
    return np.where(rng.random(n) < share, rng.beta(9, 5, n), rng.beta(3, 12, n))


def normal_values(rng, n, share):
    return np.where(rng.random(n) < share, rng.normal(0.65, 0.12, n), rng.normal(0.3, 0.08, n))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("simulate", "fit"),
    [(beta_values, fit_beta_mixture), (normal_values, fit_gaussian_mixture)],
    ids=["beta", "normal"],
)
def test_the_interval_covers_as_often_as_it_says(simulate, fit):
    """At 80% of 40 draws, 25 to 39 covered is what chance allows (nearly 3 standard deviations)."""
    covered, errors, widths = 0, [], []
    for seed in range(40):
        values = simulate(np.random.default_rng(seed), 800, 0.3)
        found = noise_rate(fit(values), values, confidence=0.8)
        covered += found.low <= 0.3 <= found.high
        errors.append(found.rate - 0.3)
        widths.append(found.high - found.low)
    assert 25 <= covered <= 39
    assert abs(np.mean(errors)) < 0.01
    # the errors are as wide as the intervals say
    assert np.std(errors) * 2 * 1.2816 == pytest.approx(np.mean(widths), rel=0.3)


def test_well_apart_it_is_the_interval_of_a_proportion():
    """Where every value's group is plain to see, only the draw of the groups is uncertain."""
    rng = np.random.default_rng(0)
    upper = np.arange(4000) < 800
    values = np.where(upper, rng.normal(0.9, 0.02, 4000), rng.normal(0.1, 0.02, 4000))
    found = noise_rate(fit_gaussian_mixture(values), values)
    assert found.rate == pytest.approx(0.2, abs=1e-6)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.2 * 0.8 / 4000), rel=0.03)


def test_more_confidence_is_wider_and_a_shape_at_its_bound_does_no_harm():
    values = np.append(np.zeros(300), np.random.default_rng(0).beta(9, 5, 200))
    fit = fit_beta_mixture(values)
    assert fit.beta[0] == 50.0
    narrow, wide = noise_rate(fit, values, 0.5), noise_rate(fit, values, 0.99)
    assert 0 < wide.low < narrow.low < narrow.rate < narrow.high < wide.high < 1


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, float("nan")])
def test_bad_confidence(confidence):
    values = np.array([0.1, 0.2, 0.8])
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        noise_rate(fit_gaussian_mixture(values), values, confidence)


def test_another_rate_changes_the_odds_alone():
    found = at_noise_rate(np.array([0.0, 0.2, 0.5, 1.0]), 0.8, 0.5)
    np.testing.assert_allclose(found, [0.0, 0.5, 0.8, 1.0])  # odds 1/4 -> 1, 1 -> 4
    np.testing.assert_allclose(at_noise_rate(found, 0.5, 0.8), [0.0, 0.2, 0.5, 1.0])
    for rate, other in ((0.0, 0.5), (0.5, 1.0), (1.0, 0.5)):
        with pytest.raises(ValueError, match="noise rates must lie between 0 and 1"):
            at_noise_rate(found, rate, other)
