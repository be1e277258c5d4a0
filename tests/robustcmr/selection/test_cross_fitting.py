"""Evidence of other folds' ridge regressions: against plain loops, and what it may and may not know."""

import numpy as np
import pytest
import torch

from robustcmr.selection import cross_fitted_evidence, cross_fitting, linear_model, rare_words, share_in_best
from robustcmr.types import PairContents

N_IMAGES, EACH, WORDS, WIDTH = 30, 3, 12, 70
N = N_IMAGES * EACH


def made(seed=0, stored=False):
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(rng.normal(size=(N_IMAGES, WIDTH)) * rng.uniform(0.2, 3, WIDTH)).half()
    image_of = rng.integers(N_IMAGES, size=N)
    captions, words = np.repeat(np.arange(N), 4), rng.integers(WORDS, size=4 * N)
    vectors = torch.from_numpy(rng.normal(size=(N, 5))).half() if stored else None
    partner = np.roll(np.arange(N), 1)
    return PairContents(rare_words(captions, words, N), features, image_of, partner, vectors)


def halfway(features):
    """Columns over the root of their deviation, so that the means and the 64 mean squares have variance 1."""
    y = features.double().numpy()
    y = y - y.mean(0)
    spread = y.std(0)
    columns = [y[:, q] / np.sqrt(spread[q]) for q in range(y.shape[1])]
    first = len(columns) - 64
    for part in (range(first), range(first, len(columns))):
        size = np.sqrt(np.mean([columns[q].var() for q in part]))
        for q in part:
            columns[q] = columns[q] / size
    return np.column_stack(columns)


def centred_ridge(products, weights, x, y):
    """Weighted covariances of x and y, the first with a ridge."""
    w = weights / weights.sum()
    dx, dy = x - w @ x, y - w @ y
    within, across = (dx * w[:, None]).T @ dx, (dx * w[:, None]).T @ dy
    return within + products * np.trace(within) / len(within) * np.eye(len(within)), across


def by_loops(contents, belief, fold):
    """The evidence by the formulas, with every score of every caption and image at hand."""
    x = contents.words.toarray().astype(float)
    if contents.text_vectors is not None:
        x = contents.text_vectors.double().numpy()
    images, given = halfway(contents.features), contents.image_of
    weights = np.maximum(belief, 0.02)
    own, reference = np.zeros(N), np.zeros(N)
    for k in range(5):
        rest, some = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        y, w = images[given[rest]], weights[rest]
        of_words, across = centred_ridge(15, w, x[rest], y)
        of_features, _ = centred_ridge(15, w, y, y)
        W = np.linalg.inv(of_words) @ across @ np.linalg.inv(of_features)
        mean_x, mean_y = np.average(x[rest], axis=0, weights=w), np.average(y, axis=0, weights=w)
        scores = (x[some] - mean_x) @ W @ (images - mean_y).T  # (captions of the fold, images)
        once = (scores - scores.mean(0)) / scores.std(0)
        twice = (once - once.mean(1, keepdims=True)) / once.std(1, keepdims=True)
        for found, pairs in ((own, some), (reference, contents.partner[some])):
            for row, (i, pair) in enumerate(zip(some, pairs, strict=True)):
                found[i] = -(once[row, given[pair]] + twice[row, given[pair]]) / 2
    return own, reference


@pytest.mark.parametrize("apart", ["images", "pairs"])
@pytest.mark.parametrize("stored", [False, True])
def test_the_evidence_by_hand(apart, stored):
    contents = made(stored=stored)
    belief = np.random.default_rng(1).random(N)
    drawn = np.random.default_rng(7).permutation(N if apart == "pairs" else N_IMAGES) % 5
    fold = drawn if apart == "pairs" else drawn[contents.image_of]
    found = cross_fitted_evidence(contents, belief, apart, seed=7)
    np.testing.assert_allclose(found, by_loops(contents, belief, fold), rtol=1e-5, atol=1e-7)


def test_blocks_change_nothing(monkeypatch):
    contents, belief = made(), np.ones(N)
    whole = cross_fitted_evidence(contents, belief)
    monkeypatch.setattr(linear_model, "_ROWS", 7)
    np.testing.assert_allclose(cross_fitted_evidence(contents, belief), whole, rtol=1e-9, atol=1e-12)


def test_a_pair_is_judged_without_itself_and_its_image():
    """What is believed of it and of its siblings changes nothing for it."""
    contents, belief = made(), np.full(N, 0.5)
    before = cross_fitted_evidence(contents, belief)[0]
    judged = contents.image_of == contents.image_of[0]
    other = cross_fitted_evidence(contents, np.where(judged, 1.0, belief))[0]
    np.testing.assert_allclose(other[judged], before[judged], rtol=1e-9)
    assert abs(other[~judged] - before[~judged]).max() > 1e-4
    # by pairs, its siblings do count
    single = np.arange(N) == 0
    before = cross_fitted_evidence(contents, belief, "pairs")[0]
    other = cross_fitted_evidence(contents, np.where(single, 1.0, belief), "pairs")[0]
    np.testing.assert_allclose(other[0], before[0], rtol=1e-9)
    siblings = cross_fitted_evidence(contents, np.where(judged & ~single, 1.0, belief), "pairs")[0]
    assert judged.sum() > 1
    assert abs(siblings[0] - before[0]) > 1e-4


def test_only_the_most_frequent_words_count(monkeypatch):
    contents, belief = made(), np.ones(N)
    monkeypatch.setattr(linear_model, "MOST_WORDS", 5)
    found = cross_fitted_evidence(contents, belief)
    count = np.asarray((contents.words.toarray() > 0).sum(0))
    kept = np.zeros(WORDS, dtype=bool)
    kept[np.argsort(-count, kind="stable")[:5]] = True
    words = type(contents.words)(contents.words.toarray()[:, kept])
    fewer = PairContents(words, contents.features, contents.image_of, contents.partner)
    np.testing.assert_allclose(found, cross_fitted_evidence(fewer, belief), rtol=1e-9)


def test_too_few_images_give_no_evidence():
    contents = made()
    few = PairContents(contents.words, contents.features[:19], contents.image_of % 19, contents.partner)
    assert not np.any(cross_fitted_evidence(few, np.ones(N)))


def test_a_belief_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"one belief a pair, \(90,\), got \(3,\)"):
        cross_fitted_evidence(made(), np.ones(3))


@pytest.mark.parametrize("wrong", [0.0, 0.5, 1.0])
def test_right_images_are_among_the_best_and_wrong_ones_as_often_as_chance_has_it(wrong):
    rng, n = np.random.default_rng(0), 1200
    topic = np.arange(n) % 60
    image_of = np.arange(n)
    moved = rng.random(n) < wrong
    image_of[moved] = rng.permutation(image_of[moved])
    features = torch.from_numpy(np.eye(60)[topic] + rng.normal(0, 0.05, (n, 60))).half()
    contents = PairContents(rare_words(np.arange(n), topic, n), features, image_of, np.roll(image_of, 1))
    found = share_in_best(contents, np.ones(n), 0.05)
    chance = moved.mean() * 0.05
    assert found == pytest.approx(1 - moved.mean() + chance, abs=0.06)


def test_a_sample_of_pairs_and_images_tells_nearly_the_same(monkeypatch):
    rng, n = np.random.default_rng(0), 1200
    topic = np.arange(n) % 60
    shown = np.where(rng.random(n) < 0.4, rng.permutation(topic), topic)
    features = torch.from_numpy(np.eye(60)[shown] + rng.normal(0, 0.05, (n, 60))).half()
    contents = PairContents(
        rare_words(np.arange(n), topic, n), features, np.arange(n), np.roll(np.arange(n), 1)
    )
    whole = share_in_best(contents, np.ones(n), 0.05)
    monkeypatch.setattr(cross_fitting, "MOST_IMAGES", 300)
    assert share_in_best(contents, np.ones(n), 0.05) == pytest.approx(whole, abs=0.1)


def test_too_few_images_are_not_ranked():
    contents = PairContents(
        rare_words([0, 1], [0, 1], 2), torch.eye(2).half(), np.arange(2), np.arange(2)[::-1]
    )
    assert share_in_best(contents, np.ones(2)) == 0
