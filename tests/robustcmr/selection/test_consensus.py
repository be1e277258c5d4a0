"""Arg-max of mutual evidence against slow loops, and the consensus of two divisions."""

import math

import numpy as np
import pytest
import torch

from robustcmr.errors import TrainingDivergedError
from robustcmr.selection import consensus_labels, divide_by_arg_max, rival_evidence


def random_scores(n, seed=0):
    return 2 * torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_clean_means_the_arg_max_of_mutual_evidence(masked, seed):
    scores = random_scores(7, seed) + 0.5 * torch.eye(7)
    image = torch.tensor([0, 1, 0, 2, 3, 1, 0]) if masked else torch.arange(7)
    same = image[:, None] == image[None, :]
    rivals = rival_evidence(scores, 0.1, same)
    e = [[math.exp(math.tanh(float(scores[i][j])) / 0.1) for j in range(7)] for i in range(7)]
    for i in range(7):
        mutual = {j: e[i][j] + e[j][i] for j in range(7) if j == i or image[j] != image[i]}
        best = max(mutual, key=mutual.get)
        assert bool(divide_by_arg_max(rivals).is_clean[i]) == (best == i)
        expected = math.log(max(m for j, m in mutual.items() if j != i) / mutual[i])
        assert float(rivals[i]) == pytest.approx(expected)


def test_both_directions_count():
    """Caption 1 fits image 0 no better than its own, but caption 0 fits image 1 far better."""
    scores = torch.tensor([[0.5, 0.5], [0.9, 0.5]])
    assert (rival_evidence(scores) > 0).tolist() == [True, True]


def test_extreme_scores_and_no_rivals_are_finite():
    assert rival_evidence(torch.tensor([[-40.0, 40.0], [40.0, -40.0]])).tolist() == pytest.approx([20, 20])
    alone = rival_evidence(torch.zeros(2, 2), 0.1, torch.ones(2, 2, dtype=torch.bool))
    assert alone.tolist() == pytest.approx([-20, -20])
    assert rival_evidence(torch.zeros(1, 1, dtype=torch.float16)).dtype == torch.float32


def test_the_division_is_honest_about_what_it_knows():
    found = divide_by_arg_max(np.float32([-1.0, 0.0, 2.0]))
    assert found.clean_probability.tolist() == [1, 1, 0]
    assert found.is_clean.tolist() == [True, True, False]
    assert found.evidence.tolist() == [-1, 0, 2]
    assert (found.noise_rate, found.noise_interval) == (None, None)
    with pytest.raises(TrainingDivergedError):
        divide_by_arg_max([0.0, math.nan])


def divisions(n=400):
    first = divide_by_arg_max(np.where(np.arange(n) % 2, 1.0, -1.0))
    second = divide_by_arg_max(np.where(np.arange(n) % 4 // 2, 1.0, -1.0))
    return first, second


def test_agreement_stands_and_disputed_pairs_are_tossed_anew():
    first, second = divisions()
    torch.manual_seed(0)
    found = [consensus_labels(first, second) for _ in range(2)]
    both, none = first.is_clean & second.is_clean, ~first.is_clean & ~second.is_clean
    for labels in found:
        assert labels.dtype == bool
        assert labels[both].all()
        assert not labels[none].any()
        assert 0.4 < labels[~both & ~none].mean() < 0.6
    assert (found[0] != found[1]).any()
    torch.manual_seed(0)
    np.testing.assert_array_equal(consensus_labels(first, second), found[0])


def test_disputed_pairs_are_dropped_without_drawing():
    first, second = divisions()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    found = consensus_labels(first, second, disagreement="drop")
    np.testing.assert_array_equal(found, first.is_clean & second.is_clean)
    assert torch.equal(torch.get_rng_state(), before)


def test_refuses_divisions_of_other_pairs():
    with pytest.raises(ValueError, match="got 4 and 3"):
        consensus_labels(divide_by_arg_max(np.zeros(4)), divide_by_arg_max(np.zeros(3)))
