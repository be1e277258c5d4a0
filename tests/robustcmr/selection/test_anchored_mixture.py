"""The mixture with one known component, against the parameters that made the values and scipy's densities."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from robustcmr.errors import TrainingDivergedError
from robustcmr.selection.anchored_mixture import (
    APART,
    SHIFTS,
    AnchoredMixture,
    _likeliest_means,
    fit_anchored_mixture,
    shift_of_upper_part,
)
from robustcmr.selection.mixture import low_posterior

REFERENCE = stats.norm(5, 0.7).ppf((np.arange(20_000) + 0.5) / 20_000)  # no chance in it


def simulate(n, share, apart, clean_spread=0.7, seed=0, shift=0.3):
    """Noisy values ``shift`` reference spreads below the reference, clean ones ``apart`` below those."""
    rng = np.random.default_rng(seed)
    noisy_mean = 5 - shift * 0.7
    noisy = rng.random(n) < share
    return np.where(
        noisy, rng.normal(noisy_mean, 0.7, n), rng.normal(noisy_mean - apart * 0.7, clean_spread, n)
    )


def total(values, means, spreads, share):
    parts = (1 - share) * stats.norm(means[0], spreads[0]).pdf(values)
    return np.log(parts + share * stats.norm(means[1], spreads[1]).pdf(values)).sum()


@pytest.mark.parametrize("shift", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.8, 0.9])
@pytest.mark.parametrize(
    ("apart", "clean_spread"),
    [(2.5, 0.3), (3.0, 0.7), (4.0, 1.2), (6.0, 0.7)],
    ids=["narrow", "same", "wider", "far"],
)
def test_finds_the_parameters_that_made_the_values(share, apart, clean_spread, shift):
    values = simulate(20_000, share, apart, clean_spread, shift=shift)
    fit = fit_anchored_mixture(values, REFERENCE)
    assert fit.converged
    assert fit.weights == pytest.approx([1 - share, share], abs=0.03)
    few = 0.1 if share == 0.9 else 0.06  # 2,000 clean values
    assert fit.means[0] == pytest.approx(5 - shift * 0.7 - apart * 0.7, abs=few)
    assert fit.variances[0] ** 0.5 == pytest.approx(clean_spread, rel=few)
    if share > 0.05:  # of 1,000 values the shift is told less well
        assert fit.shift == pytest.approx(shift, abs=0.1)
    assert fit.means[1] == pytest.approx(REFERENCE.mean() - fit.shift * REFERENCE.std())
    assert fit.log_likelihood == pytest.approx(
        total(values, fit.means, np.sqrt(fit.variances), fit.weights[1]), rel=1e-12
    )


def test_no_neighbouring_parameters_are_likelier():
    values = simulate(3000, 0.4, 3.0, 0.5)
    fit = fit_anchored_mixture(values, REFERENCE, tolerance=1e-12)
    found = np.array([*fit.means, fit.variances[0] ** 0.5, fit.weights[1]])
    assert SHIFTS[0] < fit.shift < SHIFTS[1]
    for step, moved in product((-0.01, 0.01), np.eye(4)):
        clean, noisy, spread, share = found + step * moved
        likelihood = total(values, (clean, noisy), (spread, REFERENCE.std()), share)
        assert likelihood < fit.log_likelihood


@pytest.mark.parametrize("apart", [0.5, 2.0, 4.0])
def test_the_likelihood_never_falls(apart):
    """Also where the least distance of the means holds it back (0.5)."""
    values = simulate(500, 0.6, apart, 0.9)
    steps = [
        fit_anchored_mixture(values, REFERENCE, max_iterations=k, tolerance=-np.inf) for k in range(1, 40)
    ]
    risen = np.diff([fit.log_likelihood for fit in steps])
    assert (risen > -1e-9).all()
    assert risen[0] > 0.01
    assert [fit.iterations for fit in steps[:3]] == [1, 2, 3]
    assert not steps[0].converged
    assert fit_anchored_mixture(values, REFERENCE, tolerance=1e-3).iterations < 40


def test_the_order_of_values_and_reference_does_not_matter():
    values, rng = simulate(2000, 0.3, 2.5), np.random.default_rng(1)
    reference = rng.normal(5, 0.7, 999)
    one = fit_anchored_mixture(values, reference)
    other = fit_anchored_mixture(rng.permutation(values), rng.permutation(reference))
    for name in ("means", "variances", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.iterations, one.log_likelihood) == (other.iterations, other.log_likelihood)


@pytest.mark.parametrize(("unit", "zero"), [(1e-6, 0.0), (1e40, 0.0), (3.0, -1e4)])
def test_the_unit_does_not_matter(unit, zero):
    values = simulate(2000, 0.3, 2.5)
    one = fit_anchored_mixture(values, REFERENCE)
    other = fit_anchored_mixture(unit * values + zero, unit * REFERENCE + zero)
    np.testing.assert_allclose(other.weights, one.weights, atol=1e-6)
    np.testing.assert_allclose((other.means - zero) / unit, one.means, atol=1e-6)
    np.testing.assert_allclose(other.variances / unit**2, one.variances, rtol=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_a_shift_that_is_given_is_held(shift):
    fit = fit_anchored_mixture(simulate(1000, 0.3, 3.0), REFERENCE, (shift, shift))
    assert fit.means[1] == pytest.approx(5 - shift * REFERENCE.std())
    assert fit.variances[1] == pytest.approx(REFERENCE.var())
    assert fit.shift == pytest.approx(shift)


@pytest.mark.parametrize(("truly", "found"), [(0.0, 0.1), (0.3, 0.3), (2.0, 1.0)])
def test_the_shift_stays_within_its_bounds(truly, found):
    fit = fit_anchored_mixture(simulate(20_000, 0.5, 4.0, shift=truly), REFERENCE)
    assert fit.shift == pytest.approx(found, abs=0.05)
    with pytest.raises(ValueError, match=r"a least and a most, neither below 0, got 0\.3 and 0\.2"):
        fit_anchored_mixture(REFERENCE, REFERENCE, (0.3, 0.2))


@pytest.mark.parametrize("apart", [0.0, APART, 3.0])
def test_the_clean_mean_keeps_its_distance(apart):
    """Values just like the reference would have it come as near as it may."""
    values = simulate(2000, 0.5, 0.3)
    spread = REFERENCE.std()
    fit = fit_anchored_mixture(values, REFERENCE, (0.1, 0.1), apart)
    assert fit.means[0] <= fit.means[1] - apart * spread + 1e-9
    if apart > 0:
        assert fit.means[0] == pytest.approx(fit.means[1] - apart * spread)


@pytest.mark.parametrize("precisions", [(1.0, 1.0), (5.0, 0.5), (0.1, 20.0)])
@pytest.mark.parametrize("means", [(0.0, 3.0), (0.0, 0.5), (2.0, 1.0), (0.0, 9.0), (5.0, 6.0), (-4.0, -3.0)])
def test_means_held_apart_are_the_nearest_that_may_be(means, precisions):
    found = _likeliest_means(np.array(means), np.array(precisions), (1.0, 4.0), 1.5)
    clean, noisy = np.meshgrid(np.linspace(-6, 6, 601), np.linspace(1, 4, 151))  # steps of 0.02
    far = precisions[0] * (clean - means[0]) ** 2 + precisions[1] * (noisy - means[1]) ** 2
    best = np.where(clean <= noisy - 1.5 + 1e-9, far, np.inf).argmin()
    np.testing.assert_allclose(found, [clean.flat[best], noisy.flat[best]], atol=0.021)


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.9])
@pytest.mark.parametrize("skewed", [False, True])
def test_the_upper_part_tells_how_far_any_shape_has_moved(shift, skewed):
    """Whatever clean pairs do below the cut."""
    rng = np.random.default_rng(0)
    shape = (lambda n: -rng.gamma(4.0, 0.5, n)) if skewed else (lambda n: rng.normal(5, 0.7, n))
    reference = shape(50_000)
    spread = reference.std()
    noisy, clean = shape(20_000) - shift * spread, np.full(30_000, reference.mean() - 0.6 * spread)
    found = shift_of_upper_part(rng.permutation(np.append(noisy, clean)), reference)
    assert found == pytest.approx(shift, abs=0.04)
    # where clean pairs reach above the cut it can only be larger
    clean = rng.normal(reference.mean() - 1.5 * spread, spread, 30_000)
    assert shift_of_upper_part(np.append(noisy, clean), reference) > found - 0.02


def test_nothing_above_the_rest_tells_no_shift():
    assert shift_of_upper_part(np.full(30, 1.0), REFERENCE) == np.inf
    assert shift_of_upper_part(np.full(30, 4.66), REFERENCE) == np.inf  # lower than any shift would bring it
    assert shift_of_upper_part(np.full(30, 50.0), REFERENCE) == 0


def test_equal_values_leave_the_clean_component_some_width():
    fit = fit_anchored_mixture(np.full(50, 1.0), REFERENCE)
    assert fit.means[0] == pytest.approx(1.0)
    assert fit.variances[0] ** 0.5 == pytest.approx(0.05 * REFERENCE.std())
    assert fit.weights[1] < 1e-4


@pytest.mark.parametrize(
    ("values", "share"),
    [
        (np.full(100, 1.0), 0.0),
        (np.full(100, 50.0), 1.0),
        (np.linspace(-3, 1, 200), 0.0),  # all on the clean side
        (np.linspace(5, 6, 200), 1.0),  # all on the noisy side
        (REFERENCE[::20] - SHIFTS[0] * 0.7, 1.0),
        (np.append(np.full(60, 1.0), np.full(40, 5.0)), 0.4),
        (np.array([1.0, 5.0]), 0.5),
        (np.append(np.full(60, -1e60), np.full(40, 5.0)), 0.4),
    ],
)
def test_one_sided_equal_and_few_values(values, share):
    fit = fit_anchored_mixture(values, REFERENCE)
    assert np.isfinite([*fit.means, *fit.variances, *fit.weights, fit.log_likelihood]).all()
    assert fit.weights[1] == pytest.approx(share, abs=0.02)
    assert fit.weights.sum() == pytest.approx(1)
    assert 0 < fit.weights[1] < 1


def mixture(clean_variance):
    means, variances, weights = [2.0, 5.0], [clean_variance, 0.5], [0.6, 0.4]
    return AnchoredMixture(np.array(means), np.array(variances), np.array(weights), 0.0, 1, True, 0.1)


MIXTURES = {"narrow": mixture(0.2), "wide": mixture(2.0)}


@pytest.mark.parametrize("name", MIXTURES)
def test_densities_turning_point_and_posterior(name):
    mixture, x = MIXTURES[name], np.linspace(-20, 20, 40_001)
    expected = [
        stats.norm(m, v**0.5).logpdf(x) for m, v in zip(mixture.means, mixture.variances, strict=True)
    ]
    np.testing.assert_allclose(mixture.log_densities(x), expected)
    ratio = expected[0] - expected[1]
    point, highest = mixture.turning_point()
    assert highest == (name == "narrow")
    assert point == pytest.approx(x[ratio.argmax() if highest else ratio.argmin()], abs=0.002)
    assert (np.diff(low_posterior(mixture, x)) <= 0).all()


def test_equal_spreads_never_turn():
    assert mixture(0.5).turning_point() is None


def test_slopes_are_the_derivatives_and_the_anchor_has_none():
    x, h = np.array([-1.0, 2.5, 6.0]), 1e-6
    m, v = MIXTURES["wide"].means[0], MIXTURES["wide"].variances[0]
    slopes = MIXTURES["wide"].scores(x)
    by_mean = (stats.norm(m + h, v**0.5).logpdf(x) - stats.norm(m - h, v**0.5).logpdf(x)) / (2 * h)
    by_variance = (stats.norm(m, (v + h) ** 0.5).logpdf(x) - stats.norm(m, (v - h) ** 0.5).logpdf(x)) / (
        2 * h
    )
    np.testing.assert_allclose(slopes[:2], [by_mean, by_variance], rtol=1e-5, atol=1e-8)
    assert not slopes[2:].any()
    assert len(slopes) == 4


@pytest.mark.parametrize(
    ("values", "reference"),
    [
        ([1.0], [1.0, 2.0]),
        ([1.0, 2.0], [1.0]),
        ([1.0, 2.0], [3.0, 3.0, 3.0]),
        ([1.0, 2.0], [0.1] * 20),  # whose computed spread is not 0
        ([1.0, 2.0], [0.0, 1e-200]),
        ([1.0, 2.0], [0.0, 1e-90]),
        ([1.0, 2.0], [0.0, 1e90]),
        ([1.0, 2.0], [0.0, 1e200]),
    ],
)
def test_what_cannot_be_fitted_is_refused(values, reference):
    with pytest.raises(
        ValueError, match="needs two or more values and a reference that is not all equal, got"
    ):
        fit_anchored_mixture(np.array(values), np.array(reference))


def test_huge_empty_and_broken_values_are_refused():
    with pytest.raises(ValueError, match=r"needs values within 1e\+75 of 0, got 1e\+80"):
        fit_anchored_mixture(np.array([1.0, -1e80]), REFERENCE)
    with pytest.raises(ValueError, match="vector of at least one real number"):
        fit_anchored_mixture(np.array([]), REFERENCE)
    for bad in (np.nan, np.inf):
        with pytest.raises(TrainingDivergedError, match="1 of 2 pairs"):
            fit_anchored_mixture(np.array([1.0, bad]), REFERENCE)
        with pytest.raises(TrainingDivergedError, match="1 of 3 pairs"):
            fit_anchored_mixture(np.array([1.0, 2.0]), np.array([bad, 1.0, 2.0]))
