"""Suggestions where the truth is known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.special import expit

from robustcmr.audit.calibration import fit_calibration
from robustcmr.audit.partners import Edges, Pool
from robustcmr.audit.similarity import unit
from robustcmr.audit.suggest import best_captions, best_images, suggest, transported
from robustcmr.errors import DataError
from tests.robustcmr.audit.made_pairs import made_pairs

IMAGES, CAPTIONS = 600, 4


@cache
def case():
    """Pairs of which a fifth are exchanged, and an eighth get captions that fit no image."""
    made = made_pairs(IMAGES, CAPTIONS, 0.2, noise=1.0, seed=5)
    sample, rng = made.sample, np.random.default_rng(5)
    texts, source = sample.texts.copy(), sample.image_codes.copy()
    codes = sample.image_codes
    where = {
        text.tobytes(): code
        for text, code in zip(
            made_pairs(IMAGES, CAPTIONS, 0.0, noise=1.0, seed=5).sample.texts, codes, strict=True
        )
    }
    source = np.array([where[text.tobytes()] for text in texts])
    lost = rng.permutation(np.flatnonzero(~made.wrong))[: len(texts) // 8]
    texts[lost] = unit(rng.normal(size=(len(lost), texts.shape[1])).astype(np.float32))
    source[lost] = -1
    changed = type(sample)(sample.images, texts, codes, sample.caption_codes)
    calibration = fit_calibration(changed)
    odds = calibration.judge(changed.images, texts, codes, np.zeros(len(texts), np.int64)).log_odds
    pool = Pool(
        sample.images[::CAPTIONS], texts, codes, expit(odds.astype(np.float64)), np.zeros(IMAGES, np.int64)
    )
    suspected = np.flatnonzero(pool.mismatched > 0.3)
    return pool, source, suspected, calibration, suggest(pool, suspected, suspected, calibration)


def test_suggestions_are_right_as_often_as_they_say_and_silent_where_nothing_fits():
    pool, source, suspected, _, found = case()
    given = found.image_probability >= 0.5
    right = found.image == source[suspected]
    assert given.sum() > 100
    said = found.image_probability[given].mean()
    assert said - 0.05 < right[given].mean() < said + 0.2
    lost = source[suspected] == -1
    assert given[lost].mean() < 0.1
    # of the same captions and of the same number of captions, the most similar image is right less often
    cosine = pool.images @ pool.texts[suspected].T
    cosine[pool.image[suspected], np.arange(len(suspected))] = -1
    best, sure = cosine.argmax(0), cosine.max(0)
    most = np.argsort(-sure)[: given.sum()]
    for rows in (most, np.flatnonzero(given)):
        assert right[given].mean() > 0.15 + (best == source[suspected])[rows].mean()
    assert not (found.image == pool.image[suspected]).any()


def test_a_caption_is_suggested_to_the_image_that_it_was_suggested():
    pool, source, _, _, found = case()
    given = found.caption_probability >= 0.5
    assert given.sum() > 50
    best = dict(
        zip(found.captions.tolist(), zip(found.image, found.image_probability, strict=True), strict=True)
    )
    for pair, partner, chance in zip(
        found.pairs[given], found.partner[given], found.caption_probability[given], strict=True
    ):
        assert best[partner] == (pool.image[pair], chance)
    assert len(np.unique(found.partner[given])) == given.sum()
    right = source[found.partner[given]] == pool.image[found.pairs[given]]
    said = found.caption_probability[given].mean()
    assert said - 0.05 < right.mean() < said + 0.2


def test_the_same_seed_gives_the_same_suggestions_and_nothing_asked_gives_none():
    pool, _, suspected, calibration, found = case()
    again = suggest(pool, suspected, suspected, calibration)
    np.testing.assert_array_equal(again.image_probability, found.image_probability)
    nothing = suggest(pool, suspected[:0], suspected[:3], calibration)
    assert not len(nothing.image)
    assert nothing.partner.tolist() == [-1] * 3


def test_too_few_pairs_to_tell_probabilities_are_refused():
    pool, _, _, calibration, _ = case()
    few = Pool(pool.images[:60], pool.texts[:240], pool.image[:240], pool.mismatched[:240], pool.folds[:60])
    asked = np.flatnonzero(few.mismatched > 0.3)
    with pytest.raises(DataError, match="could be hidden"):
        suggest(few, asked, asked, calibration)


def test_an_image_takes_no_more_than_its_room():
    rows, images = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 0, 2])
    edges = Edges(rows, images, np.zeros((6, 3)))
    score = np.array([5.0, 0.0, 4.0, 0.0, 3.0, 0.0])
    room = np.array([1.0, 0.5, 2.0])
    plan = transported(edges, score, 3, room, 2.0)
    assert plan.sum() == pytest.approx(2.0, rel=1e-2)
    assert (np.bincount(images, plan) <= room * 1.01).all()
    assert (np.bincount(rows, plan) <= 1.01).all()
    assert transported(edges, score, 3, room, 9.0).sum() == pytest.approx(0.95 * 2.5, rel=0.02)


def test_best_images_against_loops():
    rng = np.random.default_rng(0)
    rows = np.sort(rng.integers(0, 6, 40))
    edges = Edges(rows, rng.permutation(40), np.zeros((40, 3)))
    plan, score = rng.random(40), rng.normal(size=40)
    images, signs = best_images(edges, plan, score, 7)
    for row in range(6):
        here = np.flatnonzero(rows == row)
        top = max(here, key=lambda each: plan[each])
        assert images[row] == edges.images[top]
        expected = [np.log(plan[top]), np.log(plan[top] / plan[here].sum()), score[top]]
        np.testing.assert_allclose(signs[row], expected)
    assert images[6] == -1
    assert (signs[6] <= signs[:6]).all()


def test_captions_go_to_the_most_suspected_pairs_of_their_image():
    image = np.array([0, 0, 1, 1, 1, 2])
    pool = Pool(
        np.eye(3, dtype=np.float32),
        np.eye(6, 3, dtype=np.float32),
        image,
        np.array([0.2, 0.9, 0.5, 0.6, 0.7, 0.8]),
        image[:3],
    )
    partner, chance = best_captions(
        pool, np.array([0, 2, 3, 5]), np.array([1, 0, 1, -1]), np.array([0.4, 0.3, 0.8, 0.0]), np.arange(6)
    )
    assert partner.tolist() == [-1, 2, -1, 0, 3, -1]
    assert chance.tolist() == [0, 0.3, 0, 0.4, 0.8, 0]
