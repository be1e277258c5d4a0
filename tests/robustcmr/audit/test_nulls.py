from __future__ import annotations

import numpy as np

from robustcmr.audit.nulls import (
    MOST_CAPTIONS,
    Exchange,
    by_captions,
    one_row_an_image,
    partners_of_near_captions,
    partners_of_near_images,
    random_partners,
)
from tests.robustcmr.audit.made_pairs import made_pairs

MADE = made_pairs(images=120, captions=3, wrong=0.0)
IMAGES, CAPTIONS = MADE.sample.image_codes, np.arange(360) // 2  # every caption occurs twice


def check(found: Exchange) -> None:
    assert len(found.rows) == len(found.partners) > 0
    assert (IMAGES[found.rows] != IMAGES[found.partners]).all()
    assert (CAPTIONS[found.rows] != CAPTIONS[found.partners]).all()


def test_one_row_an_image() -> None:
    rows = one_row_an_image(IMAGES, 1000, np.random.default_rng(0))
    assert sorted(IMAGES[rows]) == list(range(120))
    assert (np.diff(rows) > 0).all()
    assert len(one_row_an_image(IMAGES, 7, np.random.default_rng(0))) == 7


def test_random_partners_stay_in_their_fold() -> None:
    folds = IMAGES % 4
    rows = one_row_an_image(IMAGES, 1000, np.random.default_rng(0))
    found = random_partners(rows, IMAGES, CAPTIONS, folds, np.random.default_rng(1))
    check(found)
    assert (folds[found.rows] == folds[found.partners]).all()
    assert len(np.unique(found.partners)) > 60


def test_an_image_alone_in_its_fold_is_left_out() -> None:
    folds = np.where(IMAGES == 5, 1, 0)
    found = random_partners(np.array([0, 15]), IMAGES, CAPTIONS, folds, np.random.default_rng(1))
    assert found.rows.tolist() == [0]


def test_near_partners_are_the_nearest() -> None:
    rows = one_row_an_image(IMAGES, 40, np.random.default_rng(0))
    for vectors, search in (
        (MADE.sample.images, partners_of_near_images),
        (MADE.sample.texts, partners_of_near_captions),
    ):
        found = search(rows, vectors, IMAGES, CAPTIONS)
        check(found)
        for row, partner in zip(found.rows, found.partners, strict=True):
            products = vectors @ vectors[row]
            products[(IMAGES[row] == IMAGES) | (CAPTIONS[row] == CAPTIONS)] = -9
            assert products[partner] >= products.max() - 1e-6


def test_rows_count_as_their_images_have_captions() -> None:
    codes = np.repeat(np.arange(40), np.r_[np.full(20, 1), np.full(20, 3)])
    rows = one_row_an_image(codes, 100, np.random.default_rng(0))
    found = by_captions(rows, codes)
    assert len(found) == 32  # (20 + 60)^2 / (20 + 180)
    assert (codes[found] >= 20).sum() == 24
    np.testing.assert_array_equal(by_captions(rows, np.arange(80)), rows)


def test_one_image_with_very_many_captions_does_not_stand_for_all() -> None:
    codes = np.r_[np.arange(500), np.full(10_000, 500)]
    rows = one_row_an_image(codes, 1000, np.random.default_rng(0))
    found = by_captions(rows, codes)
    assert 250 < len(found) < 501
    assert (codes[found] == 500).mean() < 2 * MOST_CAPTIONS / 500
