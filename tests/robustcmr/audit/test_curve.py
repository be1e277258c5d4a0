from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from robustcmr.audit.curve import fit_curve, near_bound, random_share


def evidence(
    rate: float, rng: np.random.Generator, n: int = 4000, m: int = 3000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    wrong = rng.random(n) < rate
    given = np.where(wrong, rng.normal(-2, 1.2, n), rng.normal(2, 1, n))
    return given, wrong, rng.normal(-2, 1.2, m)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.6, 0.9])
def test_interval_of_the_share_covers_the_truth(rate: float) -> None:
    covered, widths = 0, []
    for seed in range(100):
        given, wrong, random = evidence(rate, np.random.default_rng([seed, 1]))
        share = random_share(given, random)
        covered += share.low <= wrong.mean() <= share.high
        widths.append(share.high - share.low)
    assert covered >= 90
    assert np.mean(widths) < 0.02 + 0.18 * rate


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.6])
def test_probabilities_are_frequencies(rate: float) -> None:
    given, wrong, random = evidence(rate, np.random.default_rng(0), 40_000, 40_000)
    odds, low, high = fit_curve(given, random)(given)
    chance = expit(odds)
    assert (low <= odds).all()
    assert (odds <= high).all()
    assert chance.mean() == pytest.approx(rate, abs=0.02)
    for floor in np.arange(0, 1, 0.2):
        inside = (chance >= floor) & (chance < floor + 0.2)
        if inside.sum() > 300:
            assert chance[inside].mean() == pytest.approx(wrong[inside].mean(), abs=0.08)


def test_log_odds_fall_strictly() -> None:
    given, _, random = evidence(0.3, np.random.default_rng(0))
    odds = fit_curve(given, random)(np.linspace(-12, 12, 500))[0]
    assert (np.diff(odds) < 0).all()


def test_two_kinds_that_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    given = np.concatenate([rng.normal(50, 1, 700), rng.normal(-50, 1, 300)])
    curve = fit_curve(given, rng.normal(-50, 1, 500))
    assert curve.share.value == pytest.approx(0.3, abs=0.08)
    odds = curve(np.array([-50.0, 50.0]))[0]
    assert expit(odds[0]) > 0.9
    assert expit(odds[1]) < 0.01


def test_bound_holds_near_misses() -> None:
    rng = np.random.default_rng(0)
    kind = rng.choice(3, 20_000, p=[0.7, 0.2, 0.1])
    given = np.choose(kind, [rng.normal(2, 1, 20_000), rng.normal(-2, 1, 20_000), rng.normal(0.5, 1, 20_000)])
    random, near = rng.normal(-2, 1, 5000), rng.normal(0.5, 1, 5000)
    share = random_share(given, random)
    bound = near_bound(given, random, near, share)
    assert 0.1 <= bound < 0.35
    none = np.choose(kind > 0, [rng.normal(4, 0.5, 20_000), rng.normal(-2, 1, 20_000)])
    assert near_bound(none, random, rng.normal(0.5, 0.5, 5000), random_share(none, random)) < 0.05
