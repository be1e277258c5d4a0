from __future__ import annotations

import math

import numpy as np
import pytest

from robustcmr.audit.similarity import (
    TEMPERATURE,
    Reference,
    background,
    caption_agreement,
    normalised_similarity,
    other_captions,
    unit,
)


def vectors(n: int, width: int = 8, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32))


REFERENCE = Reference(vectors(11, seed=3), vectors(13, seed=4), vectors(7, seed=5))


def slow_background(vector: np.ndarray, others: np.ndarray) -> float:
    total = sum(math.exp(float(vector @ other) / TEMPERATURE) for other in others.astype(np.float64))
    return TEMPERATURE * math.log(total / len(others))


def test_similarity_is_the_formula() -> None:
    images, texts = vectors(6, seed=1), vectors(6, seed=2)
    found = normalised_similarity(images, texts, REFERENCE)
    for x, y, value in zip(images, texts, found, strict=True):
        expected = (
            float(x @ y) - (slow_background(x, REFERENCE.texts) + slow_background(y, REFERENCE.images)) / 2
        )
        assert value == pytest.approx(expected, abs=1e-5)


def test_rows_do_not_see_each_other() -> None:
    images, texts = vectors(5000, seed=1), vectors(5000, seed=2)
    whole = normalised_similarity(images, texts, REFERENCE)
    part = normalised_similarity(images[4990:], texts[4990:], REFERENCE)
    np.testing.assert_allclose(whole[4990:], part, atol=1e-6)


def test_background_of_large_products_is_finite() -> None:
    same = np.repeat(vectors(1), 4, axis=0)
    np.testing.assert_allclose(background(same, same), 1.0, atol=1e-5)


def test_other_captions_are_a_slow_loop() -> None:
    texts, codes = vectors(9), np.array([4, 2, 4, 7, 2, 4, 9, 2, 2])
    weights = np.linspace(0.1, 1, 9).astype(np.float32)
    expected = np.zeros((9, 8))
    for row in range(9):
        for other in range(9):
            if other != row and codes[other] == codes[row]:
                expected[row] += weights[other] * texts[other]
    np.testing.assert_allclose(other_captions(texts, codes, weights), expected, atol=1e-6)


def test_agreement_is_the_formula_and_unknown_alone() -> None:
    texts, codes = vectors(5), np.array([0, 0, 0, 1, 2])
    others = other_captions(texts, codes, np.ones(5, np.float32))
    found = caption_agreement(texts, others, background(texts, REFERENCE.centres))
    assert np.isnan(found).tolist() == [False, False, False, True, True]
    for row in range(3):
        cosine = float(texts[row] @ others[row]) / float(np.linalg.norm(others[row]))
        assert found[row] == pytest.approx(cosine - slow_background(texts[row], REFERENCE.centres), abs=1e-5)
