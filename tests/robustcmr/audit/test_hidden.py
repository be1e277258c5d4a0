"""Weights and probabilities recovered from pairs whose truth is simulated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from robustcmr.audit.hidden import draw_hidden, fit_trust, fit_weights
from robustcmr.audit.partners import FIRST_WEIGHTS, Edges, Pool


def test_weights_are_those_by_which_captions_choose():
    rng = np.random.default_rng(0)
    truth = np.array([0.5, 3.0, 1.0])
    n, k = 3000, 12
    features = rng.normal(size=(n, k, 3))
    chance = softmax(features @ truth, axis=1)
    own = np.array([rng.choice(k, p=each) for each in chance])
    hit = np.zeros((n, k), bool)
    hit[np.arange(n), own] = True
    parts = [
        (
            Edges(np.repeat(np.arange(1500), k), np.tile(np.arange(k), 1500), some.reshape(-1, 3)),
            there.ravel(),
        )
        for some, there in ((features[:1500], hit[:1500]), (features[1500:], hit[1500:]))
    ]
    np.testing.assert_allclose(fit_weights(parts), truth, atol=0.15)
    nothing = [(edges, np.zeros(len(edges.rows), bool)) for edges, _ in parts]
    np.testing.assert_array_equal(fit_weights(nothing), FIRST_WEIGHTS)


def drawn(rng, n, partner):
    """Signs, and whether the best is right, of captions with a partner or without."""
    t = rng.normal(np.where(partner, -1.0, -2.5), 1.0, n)
    right = partner & (rng.random(n) < 1 / (1 + np.exp(-(t + 1))))
    return np.stack([t, rng.normal(size=n)], axis=1), right  # the second says nothing


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_probabilities_are_shares_whatever_the_share_with_a_partner(share):
    rng = np.random.default_rng(1)
    found, right = drawn(rng, 2000, np.ones(2000, bool))
    without, _ = drawn(rng, 2000, np.zeros(2000, bool))
    trust = fit_trust(found, right, without)
    assert (np.diff(trust.right) >= 0).all()
    assert (np.diff(trust.partner) >= 0).all()
    n = 8000
    mismatched = rng.uniform(0.2, 0.9, n)
    odds = mismatched / (1 - mismatched)
    scale = share / (1 - share)
    partner = rng.random(n) < odds * scale / (1 + odds * scale)
    mass, truth = drawn(rng, n, partner)
    prior = trust.prior(mass, mismatched)
    assert prior.mean() == pytest.approx(partner.mean(), abs=0.06)
    chance = trust.probability(mass, prior)
    for low in np.arange(0, 1, 0.2):
        inside = (chance >= low) & (chance < low + 0.2)
        if inside.sum() > 200:
            assert chance[inside].mean() == pytest.approx(truth[inside].mean(), abs=0.08)


def test_hidden_pairs_are_right_ones_of_different_images():
    rng = np.random.default_rng(2)
    image = np.repeat(np.arange(1000), 3)
    mismatched = rng.uniform(0, 1, 3000)
    pool = Pool(
        np.eye(1000, 4, dtype=np.float32), np.ones((3000, 4), np.float32), image, mismatched, image[:0]
    )
    asked = np.flatnonzero(mismatched > 0.5)
    hidden = draw_hidden(pool, asked, rng)
    assert len(hidden.free) == len(hidden.alone) == int(0.05 * (mismatched < 0.5).sum())
    assert len(np.unique(image[hidden.every])) == len(hidden.every)
    assert mismatched[hidden.every].max() < 0.5
    assert set(hidden.room) <= set(mismatched[asked])
    many = np.concatenate([draw_hidden(pool, asked, rng).every for _ in range(40)])
    few, most = ((mismatched[many] < 0.1).mean(), (mismatched[many] > 0.4).mean())
    assert few / most == pytest.approx(0.95 / 0.55, rel=0.25)  # in proportion to 1 - p
