from __future__ import annotations

import numpy as np

from robustcmr.audit.nulls import (
    Exchange,
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
