"""Normal mixtures against known parameters and scipy's densities."""

import numpy as np
import pytest
from scipy import stats

from robustcmr.errors import TrainingDivergedError
from robustcmr.selection.gaussian_mixture import FLOOR, fit_gaussian, fit_gaussian_mixture


def simulate(n, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < share, rng.normal(0.7, 0.1, n), rng.normal(0.2, 0.06, n))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_finds_the_parameters_that_made_the_values(share):
    values = simulate(20_000, share)
    fit = fit_gaussian_mixture(values)
    assert fit.converged
    np.testing.assert_allclose(fit.weights, [1 - share, share], atol=0.01)
    np.testing.assert_allclose(fit.means, [0.2, 0.7], atol=0.01)
    np.testing.assert_allclose(np.sqrt(fit.variances), [0.06, 0.1], rtol=0.06)
    parts = [
        w * stats.norm(m, v**0.5).pdf(values)
        for w, m, v in zip(fit.weights, fit.means, fit.variances, strict=True)
    ]
    assert fit.log_likelihood == pytest.approx(np.log(sum(parts)).sum(), rel=1e-9)
    np.testing.assert_allclose(fit.log_densities(values[:50])[1], np.log(parts[1][:50] / fit.weights[1]))


def test_the_order_does_not_matter():
    values = simulate(2000)
    one, other = fit_gaussian_mixture(values), fit_gaussian_mixture(values[::-1].copy())
    np.testing.assert_array_equal(one.means, other.means)
    np.testing.assert_array_equal(one.variances, other.variances)
    assert one.iterations == other.iterations


def test_one_component_is_mean_and_variance():
    values = simulate(300)
    mean, variance, total = fit_gaussian(values)
    assert (mean, variance) == pytest.approx((values.mean(), values.var() + FLOOR))
    assert total == pytest.approx(stats.norm(mean, variance**0.5).logpdf(values).sum())


@pytest.mark.parametrize("values", [[0.1, 0.8], [0.5, 0.5, 0.5], [0.0] * 20 + [1.0]])
def test_tiny_and_constant_values_stay_finite(values):
    fit = fit_gaussian_mixture(np.array(values))
    assert np.isfinite([*fit.means, *fit.variances, *fit.weights, fit.log_likelihood]).all()
    assert (fit.variances >= FLOOR * 0.999).all()


def test_slopes_are_the_derivatives():
    fit = fit_gaussian_mixture(simulate(500))
    x = np.array([0.05, 0.3, 0.8])
    slopes, h = fit.scores(x), 1e-6
    for k in range(2):
        m, v = fit.means[k], fit.variances[k]
        by_mean = (stats.norm(m + h, v**0.5).logpdf(x) - stats.norm(m - h, v**0.5).logpdf(x)) / (2 * h)
        by_variance = (stats.norm(m, (v + h) ** 0.5).logpdf(x) - stats.norm(m, (v - h) ** 0.5).logpdf(x)) / (
            2 * h
        )
        np.testing.assert_allclose(slopes[2 * k], by_mean, rtol=1e-4)
        np.testing.assert_allclose(slopes[2 * k + 1], by_variance, rtol=1e-3)


@pytest.mark.parametrize("fit", [fit_gaussian, fit_gaussian_mixture])
def test_bad_values(fit):
    with pytest.raises(ValueError, match="needs at least two values, got 1"):
        fit(np.array([0.5]))
    with pytest.raises(TrainingDivergedError):
        fit(np.array([0.1, np.inf]))
