"""Softmax losses against torch's own cross entropy and against the formula of the paper, term by term."""

import math

import pytest
import torch
from torch.nn import functional as F

from robustcmr.losses.cross_entropy import (
    infonce_loss,
    log_matching_probabilities,
    robust_cross_entropy_loss,
)


def random_scores(n, seed=0):
    return torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_images_twice():
    image = torch.tensor([4, 1, 4, 2, 1, 0])
    return image[:, None] == image[None, :]


def literal_robust_loss(scores, temperature, floor=1e-7):
    """0.5 (RCE_i2t + RCE_t2i + CE_i2t + CE_t2i), with p = softmax(S / tau) and log(I + floor) spelled out."""
    n = len(scores)
    p, q = (scores / temperature).softmax(1), (scores.T / temperature).softmax(1)
    total = 0.0
    for matrix in (p, q):
        cross = -sum(math.log(matrix[i, i]) for i in range(n)) / n
        reverse = (
            -sum(
                float(matrix[i, j]) * math.log((1.0 if i == j else 0.0) + floor)
                for i in range(n)
                for j in range(n)
            )
            / n
        )
        total += cross + reverse
    return 0.5 * total


def test_probabilities_sum_to_one_in_both_directions():
    for mask in (None, some_images_twice()):
        for log_p in log_matching_probabilities(random_scores(6), 0.3, mask):
            torch.testing.assert_close(log_p.exp().sum(1), torch.ones(6, dtype=torch.float64))


def test_masked_cells_have_no_probability_and_the_pair_keeps_its_own():
    same = some_images_twice()
    others = same & ~torch.eye(6, dtype=torch.bool)
    for log_p in log_matching_probabilities(random_scores(6), 0.3, same):
        assert (log_p.exp()[others] == 0).all()
        assert (log_p.exp()[~others] > 0).all()


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_infonce_is_the_mean_of_two_cross_entropies(temperature):
    scores, labels = random_scores(9), torch.arange(9)
    expected = 0.5 * (
        F.cross_entropy(scores / temperature, labels, reduction="none")
        + F.cross_entropy(scores.T / temperature, labels, reduction="none")
    )
    torch.testing.assert_close(infonce_loss(scores, temperature), expected)


def test_infonce_with_a_mask_is_cross_entropy_without_those_columns():
    scores, same = random_scores(6, seed=2), some_images_twice()
    result = infonce_loss(scores, 0.5, same)
    for i in range(6):
        kept = [j for j in range(6) if j == i or not same[i, j]]
        place = torch.tensor(kept.index(i))
        forward = F.cross_entropy(scores[i, kept] / 0.5, place)
        backward = F.cross_entropy(scores[kept, i] / 0.5, place)
        torch.testing.assert_close(result[i], 0.5 * (forward + backward))


@pytest.mark.parametrize("temperature", [0.05, 0.7])
def test_robust_loss_is_the_formula_of_the_paper(temperature):
    scores = random_scores(7, seed=4) * 0.1
    mean = float(robust_cross_entropy_loss(scores, temperature).mean())
    assert mean == pytest.approx(literal_robust_loss(scores, temperature), rel=1e-12)


def test_floor_reaches_the_reverse_term():
    scores = random_scores(5)
    mean = float(robust_cross_entropy_loss(scores, 0.5, floor=1e-3).mean())
    assert mean == pytest.approx(literal_robust_loss(scores, 0.5, 1e-3), rel=1e-12)


def test_the_reverse_part_is_bounded_where_cross_entropy_is_not():
    """A hopeless pair: its score is far below all others."""
    scores = torch.zeros(3, 3, dtype=torch.float64)
    scores[0, 0] = -1000.0
    cross = infonce_loss(scores, 1.0)[0] * 2
    total = robust_cross_entropy_loss(scores, 1.0)[0] * 2
    assert cross > 1990
    assert float(total - cross) == pytest.approx(-2 * math.log(1e-7))


@pytest.mark.parametrize("loss", [infonce_loss, robust_cross_entropy_loss])
@pytest.mark.parametrize("masked", [False, True])
def test_gradient(loss, masked):
    scores = random_scores(6, seed=8).requires_grad_()
    same = some_images_twice() if masked else None
    assert torch.autograd.gradcheck(lambda s: loss(s, 0.5, same), scores)


@pytest.mark.parametrize("loss", [infonce_loss, robust_cross_entropy_loss])
def test_sharp_temperatures_stay_finite_in_single_precision(loss):
    scores = random_scores(6).float().requires_grad_()
    value = loss(scores, 1e-3, some_images_twice())
    value.sum().backward()
    assert value.isfinite().all()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("loss", [infonce_loss, robust_cross_entropy_loss])
def test_refuses_wrong_shapes(loss):
    with pytest.raises(ValueError, match=r"scores must be \(B, B\).*got \(2, 5\)"):
        loss(torch.zeros(2, 5), 0.1)
    with pytest.raises(ValueError, match=r"same_image must be \(2, 2\) like the scores, got \(2, 3\)"):
        loss(torch.zeros(2, 2), 0.1, torch.zeros(2, 3, dtype=torch.bool))
