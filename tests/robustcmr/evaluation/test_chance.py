"""Chance, against many random score matrices measured by the package's own evaluation and by a plain loop."""

from math import comb

import numpy as np
import pytest
import torch

from robustcmr.evaluation.chance import average_precision_chance, recall_sum_chance
from robustcmr.evaluation.recall import retrieval_metrics

DRAWS = 600


@pytest.mark.parametrize(
    "owner",
    [np.arange(60) // 5, np.arange(40), np.array([0] * 7 + [1, 2, 2, 3, 3, 3] + [4] * 9), np.arange(3)],
)
def test_recall_of_random_scores(owner):
    generator = torch.Generator().manual_seed(0)
    n = int(owner.max()) + 1
    found = [
        retrieval_metrics(torch.rand(n, len(owner), generator=generator), owner).rsum for _ in range(DRAWS)
    ]
    chance = recall_sum_chance(owner, n)
    assert chance.mean == pytest.approx(np.mean(found), abs=5 * np.std(found) / DRAWS**0.5 + 1e-9)
    assert 0.95 * np.std(found) <= chance.std <= 1.5 * np.std(found) + 1e-9
    assert np.mean(np.array(found) > chance.most) < 0.05


def test_published_sizes():
    missed = [comb(4995, k) / comb(5000, k) for k in (1, 5, 10)]  # none of five among the first k of 5,000
    expected = 100 * (3 - sum(missed)) + 0.1 + 0.5 + 1.0
    assert recall_sum_chance(np.arange(5000) // 5, 1000).mean == pytest.approx(expected)
    assert recall_sum_chance(np.zeros(4, dtype=np.int64), 1).mean == pytest.approx(600)


@pytest.mark.parametrize("labels", [np.arange(40) % 4, np.array([0] * 12 + [1] * 3 + [2])])
def test_average_precision_of_random_scores(labels):
    rng = np.random.default_rng(0)
    found = [
        100 * np.mean([average_precision(labels[rng.permutation(len(labels))] == own) for own in labels])
        for _ in range(DRAWS)
    ]
    chance = average_precision_chance(labels)
    assert chance.mean == pytest.approx(np.mean(found), abs=5 * np.std(found) / DRAWS**0.5)
    assert chance.std > np.std(found) / 2**0.5  # the mean of both directions has half the variance


def average_precision(relevant):
    hits, total = 0, 0.0
    for place, one in enumerate(relevant, 1):
        if one:
            hits += 1
            total += hits / place
    return total / hits
