from __future__ import annotations

import numpy as np
from scipy.special import expit

from robustcmr.audit.recalibrate import recalibrate


def test_weights_undo_the_sampling() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 3, 100_000)
    truth = expit(0.8 + 0.5 * odds)
    wrong = (rng.random(100_000) < truth).astype(float)
    sampled = np.where(wrong > 0, 0.02, 0.005)  # by the outcome itself: only the weights can undo it
    rows = rng.random(100_000) < sampled
    found = recalibrate(odds[rows], wrong[rows], sampled[rows])
    assert abs(found(odds, odds, odds)[0] - truth).mean() < 0.04
    unweighted = recalibrate(odds[rows], wrong[rows], np.full(rows.sum(), 0.01))
    assert abs(unweighted(odds, odds, odds)[0] - truth).mean() > 0.1


def test_intervals_cover_the_truth_and_hold_those_of_the_audit() -> None:
    covered = []
    places = np.array([-4.0, -1.0, 0.0, 2.0, 5.0])
    truth = expit(0.5 + 0.7 * places)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        odds = rng.normal(0, 3, 400)
        wrong = (rng.random(400) < expit(0.5 + 0.7 * odds)).astype(float)
        found = recalibrate(odds, wrong, np.full(400, 0.1))
        value, low, high = found(places, places, places)
        assert ((low < value) & (value < high)).all()
        covered.append((low <= truth) & (truth <= high))
        wider = found(places, places - 1, places + 1)
        assert (wider[1] < low).all()
        assert (wider[2] > high).all()
    assert np.mean(covered) > 0.9


def test_few_labels_change_little_and_order_stays() -> None:
    odds = np.array([-4.0, 4.0])
    found = recalibrate(odds, np.array([0.0, 1.0]), np.ones(2))
    np.testing.assert_allclose(found(odds, odds, odds)[0], expit(odds), atol=0.05)
    upside_down = recalibrate(np.repeat(odds, 50), np.repeat([1.0, 0.0], 50), np.ones(100))
    assert upside_down.slope == 0.0
