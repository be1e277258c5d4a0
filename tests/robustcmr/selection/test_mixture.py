"""The posterior never rises with the evidence, and the split by Otsu is the best one."""

import numpy as np
import pytest
from scipy import stats

from robustcmr.selection.beta_mixture import EDGE, BetaMixture
from robustcmr.selection.mixture import NormalPair, low_posterior, otsu_split

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
