from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from robustcmr.audit.calibration import QUANTILES, Calibration, Judged, Sample, fit_calibration
from robustcmr.audit.saved import read_calibration, save_calibration
from robustcmr.errors import DataError
from tests.robustcmr.audit.made_pairs import Made, made_pairs


def judged(calibration: Calibration, made: Made) -> Judged:
    sample = made.sample
    return calibration.judge(sample.images, sample.texts, sample.image_codes, np.zeros(len(sample), np.int64))


@pytest.mark.parametrize(("captions", "wrong"), [(1, 0.0), (1, 0.3), (1, 0.6), (4, 0.0), (4, 0.3)])
def test_share_and_probabilities_without_labels(captions: int, wrong: float) -> None:
    made = made_pairs(1500, captions, wrong)
    calibration = fit_calibration(made.sample)
    rate = calibration.rate
    assert rate.low - 0.01 <= made.wrong.mean() <= rate.high + 0.01
    assert rate.high - rate.low < 0.25
    chance = expit(judged(calibration, made).log_odds.astype(float))
    assert chance.mean() == pytest.approx(made.wrong.mean(), abs=0.06)
    for floor in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = (chance >= floor) & (chance < floor + 0.2)
        if inside.sum() > 150:
            assert chance[inside].mean() == pytest.approx(made.wrong[inside].mean(), abs=0.15)


def test_other_captions_of_the_image_help() -> None:
    made = made_pairs(1500, 4, 0.3, noise=2.5)
    together = judged(fit_calibration(made.sample), made)
    apart = replace(made, sample=replace(made.sample, image_codes=np.arange(len(made.sample))))
    alone = judged(fit_calibration(apart.sample), apart)
    gain = roc_auc_score(made.wrong, together.log_odds) - roc_auc_score(made.wrong, alone.log_odds)
    assert gain > 0.03


def test_a_part_is_judged_as_in_the_whole() -> None:
    made = made_pairs(600, 3, 0.3)
    calibration = fit_calibration(made.sample)
    whole = judged(calibration, made)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(made.sample.image_codes % 5 == 2))
    part = judged(calibration, Made(made.sample[rows], made.wrong[rows]))
    np.testing.assert_allclose(part.log_odds, whole.log_odds[rows], atol=2e-3)
    np.testing.assert_allclose(part.agreement, whole.agreement[rows], atol=1e-5)


def test_images_with_and_without_other_captions() -> None:
    made = made_pairs(1500, 3, 0.3)
    codes = made.sample.image_codes.copy()
    single = np.arange(len(codes)) % 3 == 0
    codes[single] += 10_000
    mixed = replace(made, sample=replace(made.sample, image_codes=codes))
    found = judged(fit_calibration(mixed.sample), mixed)
    np.testing.assert_array_equal(np.isnan(found.agreement), single)
    assert np.isfinite(found.log_odds).all()
    assert roc_auc_score(made.wrong[~single], found.log_odds[~single]) > roc_auc_score(
        made.wrong[single], found.log_odds[single]
    )


def test_near_misses_are_bounded_not_claimed() -> None:
    calibration = fit_calibration(made_pairs(1500, 1, 0.2).sample)
    assert 0 <= calibration.rate.near <= 1
    assert "looks randomly mismatched: " in calibration.rate.says
    assert "may be near misses" in calibration.rate.says


def test_saved_calibration_judges_alike(tmp_path: Path) -> None:
    made = made_pairs(600, 3, 0.3)
    calibration = fit_calibration(made.sample)
    save_calibration(calibration, tmp_path / "calibration.npz")
    again = read_calibration(tmp_path / "calibration.npz")
    assert again.rate == calibration.rate
    np.testing.assert_array_equal(judged(again, made).log_odds, judged(calibration, made).log_odds)
    np.testing.assert_array_equal(again.random, calibration.random)
    np.testing.assert_array_equal(again.near, calibration.near)


@pytest.mark.parametrize("captions", [1, 3])
def test_scores_of_pairs_mismatched_on_purpose_are_kept(captions: int) -> None:
    made = made_pairs(1200 // captions, captions, 0.3)
    calibration = fit_calibration(made.sample)
    scores = -judged(calibration, made).log_odds
    assert 0 < len(calibration.random) <= QUANTILES
    assert (np.diff(calibration.random) >= 0).all()
    # pairs that are wrong at random score as random partners do, those that are right far above
    middle = np.median(scores[made.wrong])
    assert np.quantile(calibration.random, 0.2) < middle < np.quantile(calibration.random, 0.8)
    assert np.median(scores[~made.wrong]) > np.quantile(calibration.random, 0.9)
    assert np.median(calibration.near) > np.median(calibration.random)


def test_damaged_calibration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration.npz"
    with pytest.raises(DataError, match="cannot read"):
        read_calibration(path)
    save_calibration(fit_calibration(made_pairs(300).sample), path)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(
            DataError, match=r"is no calibration or is damaged; expected the calibration\.npz"
        ):
            read_calibration(path)
    np.savez(path, about=np.frombuffer(b"[1]", np.uint8))
    with pytest.raises(DataError, match="is no calibration"):
        read_calibration(path)


def test_too_few_and_equal_vectors_are_refused() -> None:
    with pytest.raises(DataError, match="there are 150 sound pairs"):
        fit_calibration(made_pairs(150).sample)
    ones = np.full((400, 8), 8**-0.5, np.float32)
    with pytest.raises(DataError, match="vectors of all pairs are equal"):
        fit_calibration(Sample(ones, ones, np.arange(400), np.arange(400)))


def test_few_images_or_captions_are_refused() -> None:
    made = made_pairs(400).sample
    for few in (
        replace(made, image_codes=made.image_codes % 20),
        replace(made, caption_codes=made.caption_codes % 20),
        replace(made, image_codes=np.zeros(400, np.int64)),
    ):
        with pytest.raises(DataError, match="expected at least 100 of each"):
            fit_calibration(few)


@pytest.mark.parametrize("captions", [1, 5])
def test_vectors_that_do_not_belong_together_are_refused(captions: int) -> None:
    made = made_pairs(2000 // captions, captions, 0.0).sample
    moved = np.random.default_rng(0).permutation(len(made))
    for texts in (made.texts[moved], -made.texts):
        codes = np.arange(len(made)) if captions == 1 else made.image_codes
        with pytest.raises(DataError, match="fit no better than random ones"):
            fit_calibration(replace(made, texts=texts, image_codes=codes))
