"""Candidates of captions against loops over all images."""

from __future__ import annotations

import numpy as np
import pytest

from robustcmr.audit.calibration import draw_reference, fit_calibration
from robustcmr.audit.evidence import evidence
from robustcmr.audit.heads import Head, Space
from robustcmr.audit.judging import fold_of
from robustcmr.audit.partners import FIRST_WEIGHTS, Pool, candidate_edges
from robustcmr.audit.similarity import background, caption_agreement, normalised_similarity
from tests.robustcmr.audit.made_pairs import made_pairs


def pool_of(captions: int, deep: bool = False):
    made = made_pairs(400, captions, 0.3, seed=3)
    sample = made.sample
    _, firsts = np.unique(sample.image_codes, return_index=True)
    folds = fold_of(sample.image_codes * 999_999_937, 2)
    spaces = None
    if deep:
        rng = np.random.default_rng(0)
        reference = draw_reference(sample, rng)
        heads = (np.eye(32) + 0.1 * rng.normal(size=(2, 2, 32, 32))).astype(np.float32)
        spaces = tuple(Space.behind(Head(*sides), reference) for sides in heads)
    calibration = fit_calibration(sample, 0, spaces, folds if deep else None)
    of_images = folds[firsts] if deep else np.zeros(len(firsts), np.int64)
    mismatched = np.where(made.wrong, 0.9, 0.02)
    return Pool(sample.images[firsts], sample.texts, sample.image_codes, mismatched, of_images), calibration


@pytest.mark.parametrize(("captions", "deep"), [(1, False), (4, False), (4, True)])
def test_evidence_is_that_of_the_audit_for_a_caption_put_beside_the_image(captions, deep):
    pool, calibration = pool_of(captions, deep)
    asked = np.flatnonzero(pool.mismatched > 0.5)[:7]
    belief = pool.belief()
    edges = candidate_edges(pool, asked, pool.image[asked], belief, pool.room(), calibration, k=9)
    assert np.bincount(edges.rows).tolist() == [9] * len(asked)
    for row, image, features in zip(edges.rows, edges.images, edges.features, strict=True):
        space, model = calibration.spaces[pool.folds[image]], calibration.model
        x, y = space.images(pool.images[[image]]), space.texts(pool.texts[[asked[row]]])
        similarity = normalised_similarity(x, y, space.reference)
        agree = np.full(1, np.nan, np.float32)
        others = np.flatnonzero((pool.image == image) & (belief > 0.5))
        if model.both is not None and len(others):
            total = (space.texts(pool.texts[others]) * belief[others, None]).sum(0, keepdims=True)
            agree = caption_agreement(y, total, background(y, space.reference.centres))
        expected = evidence(similarity, agree, model.alone, model.both)
        np.testing.assert_allclose(features[0], expected[0], atol=2e-4)
        np.testing.assert_allclose(features[2], np.log(pool.room()[image]), rtol=1e-5)


def test_the_best_images_are_found_exactly():
    pool, calibration = pool_of(4)
    asked = np.flatnonzero(pool.mismatched > 0.5)[:40]
    arguments = (asked, pool.image[asked], pool.belief(), pool.room(), calibration)
    every = candidate_edges(pool, *arguments, k=400)
    few = candidate_edges(pool, *arguments, k=5)
    totals = every.features @ FIRST_WEIGHTS
    for row in range(len(asked)):
        here = every.rows == row
        best = every.images[here][np.argsort(-totals[here])[:5]]
        assert few.images[few.rows == row].tolist() == best.tolist()
        given = pool.image[asked[row]]
        assert given not in every.images[here]
        assert here.sum() == (pool.room() >= 0.05).sum() - (pool.room()[given] >= 0.05)


def test_neighbours_point_at_the_image_of_an_equal_caption():
    pool, calibration = pool_of(1)
    asked = np.flatnonzero(pool.mismatched > 0.5)[:20]
    right = np.flatnonzero(pool.mismatched < 0.5)[:1]
    texts = pool.texts.copy()
    near = texts[asked[0]] + 0.02 * texts[right[0]]
    texts[right[0]] = near / np.linalg.norm(near)
    room = np.ones(len(pool.images))
    changed = Pool(pool.images, texts, pool.image, pool.mismatched, pool.folds)
    arguments = (asked, np.full(20, -1), pool.belief(), room, calibration)
    edges = candidate_edges(changed, *arguments, k=400)
    assert pool.image[right[0]] not in edges.images[edges.rows == 0]  # it has this caption, nearly
    near = texts[asked[0]] + 0.5 * pool.images[pool.image[right[0]]]
    texts[right[0]] = near / np.linalg.norm(near)
    edges = candidate_edges(changed, *arguments, k=400)
    first = edges.rows == 0
    towards = dict(zip(edges.images[first].tolist(), edges.features[first, 1], strict=True))
    others = [value for image, value in towards.items() if image != pool.image[right[0]]]
    assert towards[pool.image[right[0]]] > np.quantile(others, 0.98)


def test_images_without_room_and_captions_of_nobody_give_no_edges():
    pool, calibration = pool_of(1)
    asked = np.flatnonzero(pool.mismatched > 0.5)
    nothing = np.zeros(len(pool.images))
    assert not len(candidate_edges(pool, asked, pool.image[asked], pool.belief(), nothing, calibration).rows)
    assert not len(candidate_edges(pool, asked[:0], asked[:0], pool.belief(), pool.room(), calibration).rows)
