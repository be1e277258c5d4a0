from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from noise_injection import NoiseError, make_mismatch, regular_truth, verify, verify_record

TRUTH = regular_truth(100, 5)


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
