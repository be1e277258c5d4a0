from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from noise_injection import NoiseError, make_label_noise
from noise_injection.label_ambiguity import SHARPNESS, choose_ambiguous, find_rivals
from noise_injection.records import features_sha256

GENERATOR = np.random.RandomState(0)
TRUTH = GENERATOR.randint(0, 5, size=2500)
TRUTH[TRUTH == 3] = 4  # class 3 has no rows
CENTRES = GENERATOR.normal(size=(5, 6)) * 1.5
FEATURES = CENTRES[TRUTH] + GENERATOR.normal(size=(2500, 6)) + 1000


def test_rivals_against_a_slow_loop() -> None:
    rivals, ambiguity = find_rivals(FEATURES, TRUTH, 5)
    means = {c: FEATURES[c == TRUTH].mean(axis=0) for c in (0, 1, 2, 4)}
    for row in range(0, 2500, 7):
        far = {c: float(np.linalg.norm(FEATURES[row] - mean)) for c, mean in means.items()}
        own = far.pop(int(TRUTH[row]))
        rival = min(far, key=lambda c: far[c])
        assert rivals[row] == rival
        assert ambiguity[row] == pytest.approx(own / (own + far[rival]), abs=2e-9)


def test_a_class_without_rows_is_no_rival_wherever_the_origin() -> None:
    rivals, ambiguity = find_rivals(FEATURES - FEATURES.mean(axis=0), TRUTH, 5)
    again, same = find_rivals(FEATURES, TRUTH, 5)
    assert not (rivals == 3).any()
    np.testing.assert_array_equal(rivals, again)
    np.testing.assert_allclose(ambiguity, same, atol=2e-9)


def test_coinciding_rows_are_half_way() -> None:
    rivals, ambiguity = find_rivals(np.ones((4, 2)), np.array([0, 0, 1, 2]), 3)
    assert rivals.tolist() == [1, 1, 0, 0]
    assert ambiguity.tolist() == [0.5] * 4


def test_draws_have_the_odds_told() -> None:
    """One row of four drawn: odds exp(SHARPNESS * z); the second: the same odds among those left."""
    ambiguity = np.array([0.1, 0.3, 0.4, 0.7])
    z = (ambiguity - ambiguity.mean()) / ambiguity.std()
    odds = np.exp(SHARPNESS * z)
    first = odds / odds.sum()
    second = np.array(
        [sum(first[j] * odds[i] / (odds.sum() - odds[j]) for j in range(4) if j != i) for i in range(4)]
    )
    generator = np.random.RandomState(1)
    draws = np.array([choose_ambiguous(ambiguity, 2, generator) for _ in range(20000)])
    for place, expected in ((0, first), (1, second)):
        found = np.bincount(draws[:, place], minlength=4) / 20000
        np.testing.assert_allclose(found, expected, atol=0.015)
    assert (draws[:, 0] != draws[:, 1]).all()


def test_equal_ambiguity_is_drawn_evenly() -> None:
    generator = np.random.RandomState(1)
    draws = np.concatenate([choose_ambiguous(np.full(5, 0.5), 2, generator) for _ in range(5000)])
    np.testing.assert_allclose(np.bincount(draws) / 5000, 0.4, atol=0.03)


def test_noise_goes_to_rivals_and_prefers_the_ambiguous() -> None:
    given, record = make_label_noise(TRUTH, 5, 0.2, "instance", 0, features=FEATURES)
    rivals, ambiguity = find_rivals(FEATURES, TRUTH, 5)
    wrong = given[:, 0] != TRUTH
    assert wrong.sum() == record.n_wrong[0] == 500
    np.testing.assert_array_equal(given[wrong, 0], rivals[wrong])
    by_ambiguity = wrong[np.argsort(ambiguity)].reshape(5, -1).mean(axis=1)  # share chosen, by fifth
    assert (np.diff(by_ambiguity) > 0).all()
    assert by_ambiguity[-1] > 10 * by_ambiguity[0]
    assert not np.isin(given, 3).any()


def test_neither_scale_nor_origin_nor_type_of_features_matters() -> None:
    exact = np.round(FEATURES, 2).astype(np.float32)
    given, record = make_label_noise(TRUTH, 5, 0.4, "instance", 0, features=exact)
    for other in (exact.astype(np.float64) * 4, exact.astype(np.float64) - 512):
        np.testing.assert_array_equal(
            make_label_noise(TRUTH, 5, 0.4, "instance", 0, features=other)[0], given
        )
    same = make_label_noise(TRUTH, 5, 0.4, "instance", 0, features=exact.astype(">f8"))[1]
    assert same == record
    other_hash = make_label_noise(TRUTH, 5, 0.4, "instance", 0, features=exact * 2)[1].features_sha256
    assert other_hash != record.features_sha256
    assert features_sha256([exact]) != features_sha256([exact.reshape(5000, 3)])  # the same bytes


def test_each_modality_has_its_features() -> None:
    texts = np.random.RandomState(3).normal(size=(2500, 3))
    given, record = make_label_noise(
        TRUTH, 5, 0.4, "instance", 0, features=(FEATURES, texts), per_modality=True
    )
    for column, features in enumerate((FEATURES, texts)):
        rivals, _ = find_rivals(features, TRUTH, 5)
        wrong = given[:, column] != TRUTH
        assert wrong.sum() == 1000
        np.testing.assert_array_equal(given[wrong, column], rivals[wrong])
    one = make_label_noise(TRUTH, 5, 0.4, "instance", 0, features=FEATURES, per_modality=True)
    assert one[1].features_sha256 != record.features_sha256
    assert (one[0][:, 0] != one[0][:, 1]).any()


def with_value(value: float) -> np.ndarray:
    features = FEATURES.copy()
    features[1500, 2] = value
    return features


@pytest.mark.parametrize(
    ("features", "part"),
    [
        (with_value(np.nan), "row 1500 of the features has a number that is not finite or beyond 1e\\+100"),
        (with_value(np.inf), "row 1500"),
        (with_value(-1e101), "row 1500"),
        (FEATURES[:10], r"features have shape \(10, 6\); expected \(2500, F\), one row per label"),
        (FEATURES[:, 0], r"features have shape \(2500,\); expected \(2500, F\)"),
        (FEATURES[:, :0], r"features have shape \(2500, 0\)"),
        (FEATURES.astype(complex), "hold complex128 values"),
        ((FEATURES, FEATURES), "2 arrays of features and 1 label"),
    ],
)
def test_features_that_do_not_fit(features: Any, part: str) -> None:
    with pytest.raises(NoiseError, match=part):
        make_label_noise(TRUTH, 5, 0.4, "instance", 0, features=features)


def test_one_class_has_no_rival() -> None:
    with pytest.raises(NoiseError, match="all labels are of one class"):
        make_label_noise(np.full(9, 2), 5, 0.4, "instance", 0, features=np.ones((9, 2)))
