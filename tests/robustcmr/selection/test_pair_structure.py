"""Agreement with other pairs against loops over pairs."""

import math

import numpy as np
import pytest
import torch

from robustcmr.selection import pair_agreement, pair_structure, rare_words
from robustcmr.types import PairTable

N, D = 40, 8


def table_of(image_of=None, words=True, seed=0):
    rng = np.random.default_rng(seed)
    image_of = rng.integers(12, size=N) if image_of is None else np.asarray(image_of)
    by_image, texts = (rng.normal(size=(n, D)) for n in (int(image_of.max()) + 1, N))
    sides = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (by_image[image_of], texts)]
    captions = np.repeat(np.arange(N), 3)
    spoken = rare_words(captions, rng.integers(15, size=3 * N) if words else captions * 0, N)
    halves = [torch.from_numpy(side).half() for side in sides]
    return PairTable(*halves, image_of, spoken, rng.permutation(N))


def slow(table, belief, pairs):
    """(N, 3) of every caption with the image of another pair, or its own."""
    V, T, X = table.images.double().numpy(), table.texts.double().numpy(), table.words.toarray()
    keys = [j for j in range(N) if belief[j] > 0.5]
    rows = []
    for i, k in enumerate(pairs):
        siblings = [j for j in range(N) if table.image_of[j] == table.image_of[k] and j != k]
        words = sum(belief[j] * X[i] @ X[j] for j in siblings)
        vectors = sum(belief[j] * T[i] @ T[j] for j in siblings)
        alike = {j: T[i] @ T[j] + X[i] @ X[j] for j in keys if j != i}
        best = sorted(alike, key=lambda j: -alike[j])[: min(pair_structure.NEIGHBOURS, len(keys) - 1)]
        weights = [math.exp(alike[j] / pair_structure.TEMPERATURE) * belief[j] for j in best]
        near = sum(w * V[k] @ V[j] for w, j in zip(weights, best, strict=True)) / sum(weights) if best else 0
        rows.append([words, vectors, near])
    return np.array(rows)


@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("neighbours", [3, 32])
def test_agreements_are_those_of_a_loop(words, neighbours, monkeypatch):
    monkeypatch.setattr(pair_structure, "NEIGHBOURS", neighbours)
    monkeypatch.setattr(pair_structure, "_ROWS", 7)
    table = table_of(words=words)
    belief = np.random.default_rng(1).random(N)
    given, mismatched = pair_agreement(table, belief)
    np.testing.assert_allclose(given, slow(table, belief, np.arange(N)), atol=2e-5)
    np.testing.assert_allclose(mismatched, slow(table, belief, table.partner), atol=2e-5)


def test_without_siblings_or_clean_pairs_nothing_is_said():
    table = table_of(image_of=np.arange(N))
    given, mismatched = pair_agreement(table, np.full(N, 0.2))
    assert not given.any()
    assert not mismatched.any()
    given, _ = pair_agreement(table, np.where(np.arange(N) == 3, 0.9, 0.2))  # one cannot confirm itself
    assert not given.any()


def test_the_cost_is_bounded(monkeypatch):
    monkeypatch.setattr(pair_structure, "MOST_KEYS", 6)
    table, belief = table_of(image_of=np.arange(N)), np.ones(N)
    first, again, other = (pair_agreement(table, belief, seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    chosen = np.sort(np.random.default_rng(0).choice(np.arange(N), 6, replace=False))
    few = np.where(np.isin(np.arange(N), chosen), 1.0, 0.0)
    np.testing.assert_allclose(first[:, 2], slow(table, few, np.arange(N))[:, 2], atol=2e-5)
