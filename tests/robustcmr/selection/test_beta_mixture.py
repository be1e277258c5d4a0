"""Beta mixtures against known parameters, scipy's densities and slow searches."""

import numpy as np
import pytest
from scipy import optimize, stats

from robustcmr.errors import TrainingDivergedError
from robustcmr.selection.beta_mixture import EDGE, LARGEST, SMALLEST, fit_beta, fit_beta_mixture


def simulate(n, share=0.3, low=(2.0, 12.0), high=(9.0, 5.0), seed=0):
    rng = np.random.default_rng(seed)
    upper = rng.random(n) < share
    return np.where(upper, rng.beta(*high, n), rng.beta(*low, n))


def likelihood(values, weights, alpha, beta):
    """Straight from the definition, by scipy."""
    inside = np.clip(values, EDGE, 1 - EDGE)
    density = sum(w * stats.beta(a, b).pdf(inside) for w, a, b in zip(weights, alpha, beta, strict=True))
    return float(np.log(density).sum())


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_finds_the_parameters_that_made_the_values(share):
    fit = fit_beta_mixture(simulate(40_000, share))
    assert fit.converged
    np.testing.assert_allclose(fit.weights, [1 - share, share], atol=0.01)
    np.testing.assert_allclose(fit.means, [2 / 14, 9 / 14], atol=0.01)
    np.testing.assert_allclose(fit.variances, [stats.beta(2, 12).var(), stats.beta(9, 5).var()], rtol=0.1)
    np.testing.assert_allclose(fit.alpha, [2.0, 9.0], rtol=0.12)
    np.testing.assert_allclose(fit.beta, [12.0, 5.0], rtol=0.12)


def test_likelihood_is_the_definition_and_beats_the_truth():
    values = simulate(3000)
    fit = fit_beta_mixture(values)
    assert fit.log_likelihood == pytest.approx(
        likelihood(values, fit.weights, fit.alpha, fit.beta), rel=1e-12
    )
    assert fit.log_likelihood > likelihood(values, [0.7, 0.3], [2.0, 9.0], [12.0, 5.0])
    logs = fit.log_densities(values)
    for k in range(2):
        expected = stats.beta(fit.alpha[k], fit.beta[k]).logpdf(np.clip(values, EDGE, 1 - EDGE))
        np.testing.assert_allclose(logs[k], expected, atol=1e-10)


def test_no_small_move_is_likelier():
    """A local maximum: a general optimiser started there gains next to nothing."""
    values = simulate(2000)
    fit = fit_beta_mixture(values, tolerance=1e-12)

    def cost(p):
        share = 1 / (1 + np.exp(-p[0]))
        return -likelihood(values, [1 - share, share], np.exp(p[1:3]), np.exp(p[3:5]))

    odds = np.log(fit.weights[1] / fit.weights[0])
    found = optimize.minimize(cost, [odds, *np.log(fit.alpha), *np.log(fit.beta)], method="L-BFGS-B")
    assert -found.fun <= fit.log_likelihood + 1e-3


@pytest.mark.parametrize(
    "values",
    [
        simulate(2000),
        simulate(2000, share=0.02),
        np.random.default_rng(3).random(1000),
        np.maximum(np.random.default_rng(4).normal(0.1, 0.2, 2000), 0).clip(0, 1),
        np.repeat([0.0, 1.0], 50),
    ],
    ids=["clear", "few", "flat", "heap", "ends"],
)
def test_the_likelihood_never_falls(values):
    fit = fit_beta_mixture(values, tolerance=0.0, max_iterations=60)
    assert len(fit.history) == fit.iterations
    assert np.diff(fit.history).min(initial=0.0) > -1e-12
    assert fit.history[-1] * len(values) == pytest.approx(fit.log_likelihood, abs=0.5)


def test_the_order_does_not_matter_and_nothing_is_drawn():
    values = simulate(3000)
    shuffled = np.random.default_rng(9).permutation(values)
    one, other = fit_beta_mixture(values), fit_beta_mixture(shuffled)
    for name in ("alpha", "beta", "weights", "history"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_heap_of_zeros_is_no_component_of_its_own():
    """Many clean pairs have a hinge of exactly 0; the others of them must stay on their side."""
    rng = np.random.default_rng(0)
    clean = np.maximum(rng.normal(-0.02, 0.05, 3000), 0)
    fit = fit_beta_mixture(np.append(clean, rng.beta(8, 6, 2000)))
    assert fit.weights[1] == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize(
    "values", [[0.2, 0.9], [0.5, 0.5], [0.0] * 100, [1.0] * 3, [0.0, 1.0], [0.3] * 999 + [0.300001]]
)
def test_tiny_and_constant_values_stay_finite(values):
    fit = fit_beta_mixture(np.array(values))
    assert np.isfinite([*fit.alpha, *fit.beta, *fit.weights, fit.log_likelihood]).all()
    assert (np.minimum(fit.alpha, fit.beta) >= SMALLEST).all()
    assert (np.maximum(fit.alpha, fit.beta) <= LARGEST).all()
    assert fit.weights.sum() == pytest.approx(1.0)
    assert fit.means[0] <= fit.means[1]


def test_a_million_values():
    fit = fit_beta_mixture(simulate(1_000_000), max_iterations=3)
    np.testing.assert_allclose(fit.weights, [0.7, 0.3], atol=0.01)


def test_out_of_steps_is_said():
    fit = fit_beta_mixture(simulate(500), max_iterations=1, tolerance=0.0)
    assert (fit.converged, fit.iterations) == (False, 1)


@pytest.mark.parametrize(("a", "b"), [(0.4, 0.7), (2.0, 9.0), (1.0, 1.0), (30.0, 3.0)])
def test_one_component_equals_a_slow_search(a, b):
    values = np.random.default_rng(2).beta(a, b, 2000)
    alpha, beta, total = fit_beta(values)
    assert total == pytest.approx(likelihood(values, [1.0], [alpha], [beta]), rel=1e-10)
    found = optimize.minimize(
        lambda p: -likelihood(values, [1.0], [np.exp(p[0])], [np.exp(p[1])]), [0.0, 0.0], method="Nelder-Mead"
    )
    assert total >= -found.fun - 1e-6
    np.testing.assert_allclose([alpha, beta], np.exp(found.x), rtol=1e-3)


def test_one_component_stops_at_the_bounds():
    """With the likeliest Beta beyond the bounds, the best allowed one is found, as on a fine grid."""
    values = np.random.default_rng(0).normal(0.3, 0.01, 500)
    alpha, beta, total = fit_beta(values)
    assert beta == LARGEST
    grid = [likelihood(values, [1.0], [a], [LARGEST]) for a in np.linspace(1, LARGEST, 2000)]
    assert total >= max(grid) - 1e-9
    assert total == pytest.approx(max(grid), abs=0.05)
    assert SMALLEST < alpha < LARGEST


def test_slopes_are_the_derivatives():
    fit = fit_beta_mixture(simulate(500))
    x = np.array([0.05, 0.3, 0.8])
    slopes = fit.scores(x)
    h = 1e-6
    for k in range(2):
        a, b = fit.alpha[k], fit.beta[k]
        by_alpha = (stats.beta(a + h, b).logpdf(x) - stats.beta(a - h, b).logpdf(x)) / (2 * h)
        by_beta = (stats.beta(a, b + h).logpdf(x) - stats.beta(a, b - h).logpdf(x)) / (2 * h)
        np.testing.assert_allclose(slopes[2 * k], by_alpha, atol=1e-5)
        np.testing.assert_allclose(slopes[2 * k + 1], by_beta, atol=1e-5)


@pytest.mark.parametrize("fit", [fit_beta, fit_beta_mixture])
def test_bad_values(fit):
    for bad in ([0.5], [0.5, 1.1], [-0.1, 0.5]):
        with pytest.raises(ValueError, match=r"needs at least two values in 0\.\.1, got"):
            fit(np.array(bad))
    with pytest.raises(ValueError, match="must be a vector"):
        fit(np.zeros((2, 2)))
    with pytest.raises(TrainingDivergedError):
        fit(np.array([0.1, np.nan]))
