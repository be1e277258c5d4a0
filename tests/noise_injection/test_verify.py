from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from noise_injection import (
    NoiseError,
    make_label_noise,
    make_mismatch,
    regular_truth,
    verify,
    verify_labels,
    verify_record,
)

TRUTH = regular_truth(100, 5)
LABELS = np.arange(40) % 4
GIVEN, LABEL_RECORD = make_label_noise(
    LABELS, 4, 0.5, "symmetric", 2, per_modality=True, data_fingerprint="abc"
)


@pytest.mark.parametrize("protocol", ["caption", "image"])
@pytest.mark.parametrize("derange", [False, True])
@pytest.mark.parametrize("ratio", [0.0, 0.4])
def test_made_noise_is_made_again(protocol: str, derange: bool, ratio: float) -> None:
    index, record = make_mismatch(TRUTH, 20, ratio, protocol, 6, derange)
    outcome = verify_record(index, TRUTH, 20, record)
    assert outcome.matches
    assert outcome.n_different == 0
    assert outcome.found_sha256 == outcome.expected_sha256 == outcome.recorded_sha256 == record.index_sha256
    assert "the same, byte for byte" in outcome.to_text()
    assert outcome.to_dict()["seed"] == 6


def test_an_image_permutation_is_verified_too() -> None:
    index, _ = make_mismatch(TRUTH, 20, 0.5, "image", 3)
    assert verify(index[::5], TRUTH, 20, "image", 0.5, 3).matches


def test_differences_are_counted() -> None:
    index, record = make_mismatch(TRUTH, 20, 0.4, "caption", 6)
    altered = index.copy()
    altered[[0, 99]] = altered[[99, 0]]
    outcome = verify_record(altered, TRUTH, 20, record)
    assert not outcome.matches
    assert outcome.n_different == 2
    assert "DIFFERENT in 2 rows" in outcome.to_text()


@pytest.mark.parametrize(
    ("protocol", "ratio", "seed", "derange"),
    [
        ("image", 0.4, 6, False),
        ("caption", 0.3, 6, False),
        ("caption", 0.4, 7, False),
        ("caption", 0.4, 6, True),
    ],
)
def test_every_setting_counts(protocol: str, ratio: float, seed: int, derange: bool) -> None:
    index, record = make_mismatch(TRUTH, 20, 0.4, "caption", 6)
    assert record.ratio_realised < 0.4  # some row came back, so derange has something to do
    outcome = verify(index, TRUTH, 20, protocol, ratio, seed, derange)
    assert not outcome.matches
    expected = make_mismatch(TRUTH, 20, ratio, protocol, seed, derange)[0]
    assert outcome.n_different == sum(a != b for a, b in zip(index, expected, strict=True))


def test_record_that_names_another_hash() -> None:
    index, record = make_mismatch(TRUTH, 20, 0.4, "caption", 6, derange=True)
    outcome = verify_record(index, TRUTH, 20, dataclasses.replace(record, index_sha256="0" * 64))
    assert not outcome.matches
    assert outcome.n_different == 0
    assert "DIFFERENT from the recorded hash" in outcome.to_text()
    assert "derange True" in outcome.to_text()


def test_record_that_does_not_say_enough() -> None:
    index, record = make_mismatch(TRUTH, 20, 0.4, "caption", 6)
    with pytest.raises(NoiseError, match="does not say"):
        verify_record(index, TRUTH, 20, dataclasses.replace(record, seed=None))


def test_index_that_does_not_fit() -> None:
    with pytest.raises(NoiseError, match="entries"):
        verify(np.arange(7), TRUTH, 20, "caption", 0.4, 0)


FEATURES = np.random.RandomState(0).normal(size=(40, 3))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("symmetric", {"redraw_true": True}),
        ("asymmetric", {"class_map": [1, 0, 2, 2], "per_modality": True}),
        ("instance", {"features": FEATURES}),
        ("instance", {"features": (FEATURES, FEATURES[:, :2]), "per_modality": True}),
    ],
)
def test_label_noise_is_made_again(kind: str, options: dict[str, Any]) -> None:
    given, record = make_label_noise(LABELS, 4, 0.5, kind, 9, **options, data_fingerprint="abc")
    features = options.get("features")
    found = verify_labels(given, LABELS, record, features)
    assert found.matches
    assert found.n_different == 0
    assert found.found_sha256 == found.expected_sha256 == found.recorded_sha256 == record.labels_sha256
    assert "the same, byte for byte" in found.to_text()
    altered = given.copy()
    altered[0, 0] = (given[0, 0] + 1) % 4
    changed = verify_labels(altered, LABELS, record, features)
    assert not changed.matches
    assert changed.n_different == 1
    assert "DIFFERENT in 1 labels" in changed.to_text()
    reseeded = verify_labels(given, LABELS, dataclasses.replace(record, seed=8), features)
    assert not reseeded.matches
    assert reseeded.n_different > 0
    misnamed = verify_labels(given, LABELS, dataclasses.replace(record, labels_sha256="0" * 64), features)
    assert not misnamed.matches
    assert "recorded hash" in misnamed.to_text()
    assert misnamed.to_dict()["recorded_sha256"] == "0" * 64


def test_labels_that_do_not_fit() -> None:
    with pytest.raises(NoiseError, match=r"shape \(30, 2\) and their record expects \(40, 2\)"):
        verify_labels(GIVEN[:30], LABELS, LABEL_RECORD)
    with pytest.raises(NoiseError, match="40 rows and the data has 30 labels"):
        verify_labels(GIVEN, LABELS[:30], LABEL_RECORD)
    with pytest.raises(NoiseError, match="does not use features"):
        verify_labels(GIVEN, LABELS, LABEL_RECORD, FEATURES)
    given, record = make_label_noise(LABELS, 4, 0.5, "instance", 9, features=FEATURES)
    with pytest.raises(NoiseError, match="needs features"):
        verify_labels(given, LABELS, record)
    with pytest.raises(NoiseError, match="made with other features"):
        verify_labels(given, LABELS, record, FEATURES * 2)
