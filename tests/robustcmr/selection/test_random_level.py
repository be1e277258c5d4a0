"""Scores of given and random pairs against slow loops, and the weight above their level."""

import pytest
import torch

from robustcmr.selection import given_and_random_scores, random_level_weights


@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_loops(masked):
    scores = torch.rand(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    image = torch.tensor([0, 1, 0, 2, 3, 1]) if masked else torch.arange(6)
    same = image[:, None] == image[None, :]
    found = given_and_random_scores(scores, same if masked else None)
    for i in range(6):
        others = [float(s) for j in range(6) if image[j] != image[i] for s in (scores[i, j], scores[j, i])]
        assert found[i].tolist() == pytest.approx([float(scores[i, i]), sum(others) / len(others)])


def test_without_mismatches_the_level_is_unknown():
    found = given_and_random_scores(torch.full((2, 2), 0.5), torch.ones(2, 2, dtype=torch.bool))
    assert found[:, 0].tolist() == [0.5, 0.5]
    assert found[:, 1].isnan().all()
    assert given_and_random_scores(torch.zeros(2, 2, dtype=torch.float16)).dtype == torch.float32


def test_the_weight_of_the_paper():
    above = torch.tensor([-0.5, 0.0, 0.2, 0.5**0.5, 0.9, 1.0, 1.5], dtype=torch.float64)
    expected = [0.0, 0.0, 0.04 * 0.96, 0.25, 0.81 * 0.19, 0.0, 0.0]
    assert random_level_weights(above).tolist() == pytest.approx(expected)


def test_the_released_weight_is_relative_to_the_best_of_the_batch():
    above = torch.tensor([-0.3, 0.1, 0.2, 0.4], dtype=torch.float64)
    shares = [0.0, 0.25, 0.5, 1.0]
    expected = [x**2 * (1 - x**2) for x in shares]
    assert random_level_weights(above, relative=True).tolist() == pytest.approx(expected)
    assert not random_level_weights(torch.tensor([-0.1, -0.2]), relative=True).any()
    assert random_level_weights(torch.empty(0), relative=True).shape == (0,)
