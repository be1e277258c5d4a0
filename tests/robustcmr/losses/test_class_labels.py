"""Losses of class probabilities and labels: slow loops, closed forms, and what makes them robust."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from robustcmr.losses.class_anchors import contrast_log_probabilities, multimodal_contrast
from robustcmr.losses.class_labels import (
    absolute_error,
    bounded_cross_entropy,
    row_distance,
    same_class_likelihood,
    self_paced_loss,
    self_paced_weights,
)

P = (1.0, 0.999999, 0.7, 0.2, 1e-3, 1e-30)


def unit(n, d=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1)


@pytest.mark.parametrize("q", [0.01, 0.3, 1.0])
def test_bounded_cross_entropy_is_the_formula(q):
    found = bounded_cross_entropy(torch.tensor(P, dtype=torch.float64).log(), q)
    slow = [(1 - q) * (1 - p**q) / q + q * (1 - p) for p in P]
    assert found.tolist() == pytest.approx(slow, rel=1e-9, abs=1e-12)
    assert float(found.max()) <= (1 - q) / q + q


def test_its_ends_are_cross_entropy_and_mean_absolute_error():
    p = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    torch.testing.assert_close(bounded_cross_entropy(p.log(), 1.0), 1 - p)
    torch.testing.assert_close(bounded_cross_entropy(p.log(), 1e-6), -p.log(), rtol=1e-4, atol=0)


def test_it_stays_finite_where_the_probability_vanishes():
    log_p = torch.tensor([-1e4, -math.inf, 0.0], requires_grad=True)
    loss = bounded_cross_entropy(log_p, 0.01)
    assert loss.isfinite().all()
    loss.sum().backward()
    assert log_p.grad.isfinite().all()
    assert log_p.grad[0] == 0  # as good as never: no pull at all


@pytest.mark.parametrize("q", [0.0, -0.1, 1.5])
def test_other_exponents_are_refused(q):
    with pytest.raises(ValueError, match=r"q is .*expected a number in \(0, 1\]|q is .*positive"):
        bounded_cross_entropy(torch.zeros(2), q)


def test_the_self_paced_weight_is_the_one_of_least_loss():
    gamma, grid = 4.0, np.linspace(0, 1, 100_001)
    for loss in (0.0, 0.5, 2.0, 3.9, 4.0, 7.0):
        given = torch.tensor([loss], dtype=torch.float64)
        total = grid * loss + gamma * (grid**2 / 2 - grid)
        assert float(self_paced_loss(given, gamma)[0]) == pytest.approx(total.min(), abs=1e-8)
        assert float(self_paced_weights(given, gamma)[0]) == pytest.approx(grid[total.argmin()], abs=1e-4)


def test_the_weight_has_no_gradient_and_leaves_out_what_exceeds_gamma():
    losses = torch.tensor([0.0, 1.0, 3.0, 4.0, 9.0], requires_grad=True)
    assert not self_paced_weights(losses, 4.0).requires_grad
    self_paced_loss(losses, 4.0).sum().backward()
    assert losses.grad.tolist() == [1.0, 0.75, 0.25, 0.0, 0.0]


def test_absolute_error_as_a_slow_loop():
    p = torch.softmax(unit(6, 4) * 3, dim=1)
    targets = torch.softmax(unit(6, 4, seed=1), dim=1)
    slow = [sum(abs(a - b) for a, b in zip(x, y, strict=True)) for x, y in zip(p, targets, strict=True)]
    torch.testing.assert_close(absolute_error(p, targets), torch.stack(slow))
    one_hot = torch.eye(4, dtype=torch.float64)[[0, 1, 2, 3, 0, 1]]
    torch.testing.assert_close(absolute_error(p, one_hot), 2 * (1 - p[range(6), one_hot.argmax(1)]))


def test_row_distance_is_not_squared_and_differentiable_where_rows_are_equal():
    first, second = unit(5), unit(5, seed=1)
    slow = [
        math.sqrt(sum((a - b) ** 2 for a, b in zip(*rows, strict=True)))
        for rows in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert row_distance(first, second).tolist() == pytest.approx(slow)
    same = first.clone().requires_grad_()
    row_distance(same, first).sum().backward()
    assert (same.grad == 0).all()


@pytest.mark.parametrize("n", [1, 2, 6])
def test_same_class_likelihood_as_a_slow_loop(n):
    first, second = unit(n), unit(n, seed=1)
    same = (torch.rand(n, n, generator=torch.Generator().manual_seed(2)) < 0.5).double()
    found = same_class_likelihood(first, second, same)
    for i in range(n):
        slow = 0.0
        for j in range(n):
            logit = float(first[i] @ second[j]) / 2
            slow += (math.log(1 + math.exp(logit)) - float(same[i, j]) * logit) / n
        assert float(found[i]) == pytest.approx(slow)


def test_contrast_probabilities_as_a_slow_loop():
    images, texts = unit(4), unit(4, seed=1)
    both = torch.cat([images, texts])
    found = contrast_log_probabilities(images, texts, 0.7)
    for row in range(8):
        similar = [math.exp(float(both[row] @ other) / 0.7) for other in both]
        own = similar[row] + similar[(row + 4) % 8]
        assert float(found[row // 4, row % 4]) == pytest.approx(math.log(own / sum(similar)))
    torch.testing.assert_close(multimodal_contrast(images, texts, 0.7), -found.mean(0))


def test_arrays_are_taken_and_types_kept():
    assert bounded_cross_entropy(np.log(np.array([0.5], dtype=np.float32)), 0.5).dtype == torch.float32
    assert row_distance(np.zeros((2, 3)), np.ones((2, 3))).dtype == torch.float64
    for dtype in (torch.float16, torch.bfloat16):
        assert self_paced_loss(torch.ones(2, dtype=dtype), 3.0).isfinite().all()


def test_gradients():
    first, second = unit(4).requires_grad_(), unit(4, seed=1).requires_grad_()
    same = torch.eye(4, dtype=torch.float64)
    check = torch.autograd.gradcheck
    assert check(lambda a, b: same_class_likelihood(a, b, same), (first, second))
    assert check(row_distance, (first, second))
    assert check(lambda a, b: contrast_log_probabilities(a, b, 0.5), (first, second))
    log_p = torch.tensor([-0.1, -1.0, -5.0], dtype=torch.float64, requires_grad=True)
    assert check(lambda a: bounded_cross_entropy(a, 0.2), (log_p,))
