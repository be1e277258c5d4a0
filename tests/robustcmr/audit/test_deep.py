from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from robustcmr.audit.calibration import fit_calibration
from robustcmr.audit.deep import FOLDS, fit_deep, train_head
from robustcmr.audit.saved import read_calibration, save_calibration
from robustcmr.errors import DataError
from tests.robustcmr.audit.made_pairs import Made, made_pairs


def skewed(made: Made) -> Made:
    """The same pairs in vectors half of whose numbers are the picture's or the text's alone."""
    rng, sample = np.random.default_rng(7), made.sample
    n = len(sample)
    codes = sample.image_codes
    private = rng.normal(size=(codes.max() + 1, 32)).astype(np.float32)[codes] / 32**0.5
    own = rng.normal(size=(n, 32)).astype(np.float32) / 32**0.5
    images, texts = (
        np.concatenate([a, b], axis=1) / 2**0.5 for a, b in ((sample.images, private), (sample.texts, own))
    )
    return replace(made, sample=replace(sample, images=images, texts=texts))


@pytest.mark.slow
def test_deep_adapts_the_vectors_and_judges_held_out_images(tmp_path: Path) -> None:
    made = skewed(made_pairs(3000, 4, 0.3, noise=1.5))
    sample, folds = made.sample, made.sample.image_codes % FOLDS
    deep, quick = fit_deep(sample, folds), fit_calibration(sample)
    rows = sample.images, sample.texts, sample.image_codes
    found = deep.judge(*rows, folds).log_odds
    plain = quick.judge(*rows, np.zeros(len(sample), np.int64)).log_odds
    assert roc_auc_score(made.wrong, found) > roc_auc_score(made.wrong, plain) + 0.01
    assert deep.rate.low - 0.01 <= made.wrong.mean() <= deep.rate.high + 0.01
    save_calibration(deep, tmp_path / "deep.npz")
    np.testing.assert_array_equal(read_calibration(tmp_path / "deep.npz").judge(*rows, folds).log_odds, found)


def test_a_head_learns_to_ignore_what_sides_do_not_share() -> None:
    made = skewed(made_pairs(800, 2, 0.0))
    head = train_head(made.sample, np.ones(len(made.sample)))
    shared, private = np.abs(np.diag(head.text))[:32].mean(), np.abs(np.diag(head.text))[32:].mean()
    assert shared > private


def test_pairs_that_are_not_believed_teach_nothing() -> None:
    made = made_pairs(600, 2, 0.0)
    belief = np.ones(len(made.sample))
    belief[:600] = 0.0
    changed = made.sample.images.copy()
    changed[:600] = changed[:600][::-1]
    one = train_head(made.sample, belief)
    # the images of unbelieved pairs are still candidates for others, so only a little may change
    other = train_head(replace(made.sample, images=changed), belief)
    eye = np.eye(32)
    assert np.linalg.norm(one.image - other.image) < np.linalg.norm(one.image - eye)


def test_few_pairs_and_empty_folds_are_refused() -> None:
    small = made_pairs(500).sample
    with pytest.raises(DataError, match="deep needs about 10,000 sound pairs"):
        fit_deep(small, small.image_codes % FOLDS)
    large = made_pairs(10_000, width=8).sample
    with pytest.raises(DataError, match="all fall into 1"):
        fit_deep(large, np.zeros(10_000, np.int64))
