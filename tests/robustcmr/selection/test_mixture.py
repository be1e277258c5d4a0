"""The posterior never rises with the evidence, the split by Otsu is the best, and curves fit the division."""

import numpy as np
import pytest
from scipy import stats

from robustcmr.selection import divide_by_mixture, divide_by_reference
from robustcmr.selection.beta_mixture import EDGE, BetaMixture
from robustcmr.selection.mixture import NormalPair, fitted_density, low_posterior, otsu_split

GRID = np.linspace(0, 1, 2001)


def beta(low, high, share=0.4):
    alpha, second = np.array([low[0], high[0]]), np.array([low[1], high[1]])
    return BetaMixture(alpha, second, np.array([1 - share, share]), 0.0, np.zeros(1), True)


def normal(low, high, share=0.4):
    means, variances = np.array([low[0], high[0]]), np.array([low[1], high[1]]) ** 2
    return NormalPair(means, variances, np.array([1 - share, share]), 0.0, 1, True)


def plain(mixture, x, share=0.4):
    if isinstance(mixture, BetaMixture):
        parts = [stats.beta(a, b) for a, b in zip(mixture.alpha, mixture.beta, strict=True)]
        x = np.clip(x, EDGE, 1 - EDGE)
    else:
        parts = [stats.norm(m, v**0.5) for m, v in zip(mixture.means, mixture.variances, strict=True)]
    low, high = (1 - share) * parts[0].pdf(x), share * parts[1].pdf(x)
    return low / (low + high)


MIXTURES = {
    "beta, never turns": beta((2, 12), (9, 5)),
    "beta, narrow low": beta((10, 30), (2, 2.5)),
    "beta, wide low": beta((1.5, 3), (30, 10)),
    "normal, same spread": normal((0.2, 0.1), (0.7, 0.1)),
    "normal, narrow low": normal((0.3, 0.05), (0.6, 0.2)),
    "normal, wide low": normal((0.3, 0.2), (0.6, 0.05)),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_never_rises_and_is_the_plain_one_up_to_the_turn(name):
    mixture = MIXTURES[name]
    held, free = low_posterior(mixture, GRID), plain(mixture, GRID)
    assert (np.diff(held) <= 0).all()
    if "narrow" in name:  # the plain posterior rises up to its top and is held there
        top = int(free.argmax())
        assert 20 < top < 1000
        np.testing.assert_allclose(held[top:], free[top:], atol=1e-6)
        np.testing.assert_allclose(held[:top], free[top], atol=1e-6)
    elif "wide" in name:  # it falls to its bottom and is held there
        bottom = int(free.argmin())
        assert 1000 < bottom < 1980
        np.testing.assert_allclose(held[:bottom], free[:bottom], atol=1e-6)
        np.testing.assert_allclose(held[bottom:], free[bottom], atol=1e-6)
    else:
        assert mixture.turning_point() is None
        np.testing.assert_allclose(held, free, atol=1e-12)


def test_rounding_raises_nothing():
    """Nearly equal components: the log ratio moves by less than it is rounded."""
    mixture = beta((2.0, 12.0), (2.0 + 1e-12, 12.0 - 1e-12))
    assert (np.diff(low_posterior(mixture, np.linspace(0.1, 0.9, 20_000))) <= 0).all()


def test_in_any_order():
    mixture = MIXTURES["beta, narrow low"]
    order = np.random.default_rng(0).permutation(len(GRID))
    np.testing.assert_array_equal(low_posterior(mixture, GRID[order]), low_posterior(mixture, GRID)[order])


@pytest.mark.parametrize("seed", range(5))
def test_otsu_against_every_split(seed):
    ordered = np.sort(np.random.default_rng(seed).random(12 + seed))
    costs = [ordered[:k].var() * k + ordered[k:].var() * (len(ordered) - k) for k in range(1, len(ordered))]
    assert otsu_split(ordered) == int(np.argmin(costs)) + 1


def test_otsu_of_two_and_of_equal_values():
    assert otsu_split(np.array([0.1, 0.2])) == 1
    assert 1 <= otsu_split(np.full(5, 0.3)) <= 4


# curves: change of variables, an area of one, and a crossing where the decision is


def area(density):
    return np.trapezoid(density.clean + density.noisy, density.evidence)


def test_on_a_log_scale_the_components_are_log_normal():
    mixture = normal((0.5, 0.2), (2.0, 0.3), 0.3)
    found = fitted_density(mixture, (-1.0, 4.0), np.exp, lambda v: np.exp(-v))
    x = found.evidence
    assert (np.diff(x) > 0).all()
    assert x[[0, -1]] == pytest.approx(np.exp([-1.0, 4.0]))
    np.testing.assert_allclose(found.clean, 0.7 * stats.lognorm(0.2, scale=np.exp(0.5)).pdf(x))
    np.testing.assert_allclose(found.noisy, 0.3 * stats.lognorm(0.3, scale=np.exp(2.0)).pdf(x))
    assert area(found) == pytest.approx(1, abs=0.002)


def test_what_lies_below_the_lowest_is_mirrored():
    """As the absolute value of a normal number has it."""
    mixture = normal((0.1, 0.2), (2.0, 0.3), 0.3)
    found = fitted_density(mixture, (0.0, 3.5), lambda v: 10 * v, lambda v: np.full_like(v, 0.1), 0.0)
    np.testing.assert_allclose(found.clean, 0.7 * stats.foldnorm(0.5, scale=2.0).pdf(found.evidence))
    assert area(found) == pytest.approx(1, abs=0.002)
    assert area(fitted_density(mixture, (0.0, 3.5), lambda v: v, np.ones_like)) < 0.8


@pytest.mark.parametrize("zero", [-3.0, 0.5])
def test_the_lowest_may_lie_anywhere(zero):
    one = fitted_density(normal((0.1, 0.2), (2.0, 0.3), 0.3), (0.0, 3.5), lambda v: v, np.ones_like, 0.0)
    moved = normal((zero + 0.1, 0.2), (zero + 2.0, 0.3), 0.3)
    other = fitted_density(moved, (zero, zero + 3.5), lambda v: v - zero, np.ones_like, zero)
    np.testing.assert_allclose(other.clean, one.clean, atol=1e-9)


def by_reference(evidence, rng):
    return divide_by_reference(np.expm1(3 * evidence), np.expm1(3 * rng.beta(20, 8, 4000)))


DIVIDERS = {
    "beta": lambda evidence, rng: divide_by_mixture(evidence, always=True),
    "gaussian": lambda evidence, rng: divide_by_mixture(evidence, "gaussian", always=True),
    "unit": lambda evidence, rng: divide_by_mixture(1000 * evidence - 500, "gaussian", always=True),
    "reference": by_reference,
}


def simulated(share, steep, seed=0, n=3000):
    rng = np.random.default_rng(seed)
    clean = rng.beta(0.7, 20, n) if steep else rng.beta(2, 20, n)
    return np.where(rng.random(n) < share, rng.beta(20, 8, n), clean), rng


@pytest.mark.parametrize("name", DIVIDERS)
@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("steep", [False, True])
def test_a_division_draws_an_area_of_one_and_crosses_where_it_decides(name, share, steep):
    division = DIVIDERS[name](*simulated(share, steep))
    density = division.density
    assert area(density) == pytest.approx(1, abs=0.04)
    assert np.trapezoid(density.noisy, density.evidence) == pytest.approx(division.noise_rate, abs=0.02)
    assert density.evidence.min() <= division.evidence.min() + 1e-9
    assert density.evidence.max() >= division.evidence.max() - 1e-6
    higher = density.clean > density.noisy
    peak = (density.noisy * (density.evidence > np.median(division.evidence))).argmax()
    last = int(np.flatnonzero(higher[:peak]).max())  # from the next point on the noisy curve is higher
    # no pair between crossing and decision, give or take a point for what is mirrored
    assert division.evidence[division.is_clean].max() <= density.evidence[last + 2]
    assert division.evidence[~division.is_clean].min() >= density.evidence[last - 1]


@pytest.mark.parametrize("name", ["beta", "gaussian", "reference"])
def test_the_curves_follow_the_histogram(name):
    division = DIVIDERS[name](*simulated(0.4, False))
    density, edges = division.density, np.quantile(division.evidence, np.linspace(0, 1, 11))
    both = density.clean + density.noisy
    steps = 0.5 * (both[1:] + both[:-1]) * np.diff(density.evidence)
    below = np.interp(edges, density.evidence, np.append(0.0, steps.cumsum()))
    np.testing.assert_allclose(np.diff(below), 0.1, atol=0.05)


@pytest.mark.parametrize("name", ["beta", "gaussian", "reference"])
def test_an_outlier_does_not_spoil_the_curves(name):
    evidence, rng = simulated(0.4, False)
    evidence[0] = np.log1p(1e6) / 3 if name == "reference" else 1e6
    assert area(DIVIDERS[name](evidence, rng).density) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("model", ["beta", "gaussian"])
@pytest.mark.parametrize("unit", [1e-300, 1.7e308])
def test_the_smallest_and_greatest_numbers(model, unit):
    evidence, _ = simulated(0.4, False)
    division = divide_by_mixture(unit * evidence / evidence.max(), model)
    assert area(division.density) == pytest.approx(1, abs=0.04)
    assert np.isfinite(division.density.evidence).all()
