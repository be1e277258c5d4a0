"""The complementary loss against loops over the formula, and at the ends of its range."""

import math

import pytest
import torch

from robustcmr.losses import complementary_loss

SHAPES = ["log", "tan", "abs", "exp", "gce"]


def random_scores(n, seed=0):
    return torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images_of(*images):
    images = torch.tensor(images)
    return images[:, None] == images[None, :]


def shaped(p, shape, power):
    return {
        "log": lambda: -math.log(1 - p + 1e-10),
        "tan": lambda: math.tan(p),
        "abs": lambda: p,
        "exp": lambda: math.exp(-(1 - p)),
        "gce": lambda: (1 - (1 - p) ** power) / power,
    }[shape]()


def slow(scores, temperature, shape, same=None, y=None, power=0.2):
    n, matrix = len(scores), scores.tolist()
    found = []
    for i in range(n):
        total = 0.0
        candidates = [j for j in range(n) if j == i or same is None or not same[i, j]]
        for row in ([matrix[i][j] for j in range(n)], [matrix[j][i] for j in range(n)]):
            mass = sum(math.exp(row[j] / temperature) for j in candidates)
            p = {j: math.exp(row[j] / temperature) / mass for j in candidates}
            pushed = sum(shaped(p[j], shape, power) for j in candidates if j != i)
            if y is not None:
                pushed /= sum(shaped(p[j], shape, power) for j in candidates) ** (1 - float(y[i]))
            total += pushed
        found.append(total)
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("same", [None, images_of(0, 0, 1, 2, 2, 2, 3)])
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_formula(shape, same, temperature):
    scores = random_scores(7)
    y = torch.linspace(0, 1, 7, dtype=torch.float64)
    for given in (None, y):
        found = complementary_loss(scores, temperature, shape, same, given, power=0.4)
        torch.testing.assert_close(found, slow(scores, temperature, shape, same, given, 0.4))


def test_the_published_loss_is_the_mean_of_rows_plus_the_mean_of_columns():
    scores = random_scores(5)
    p, q = (scores / 0.5).softmax(1), (scores.T / 0.5).softmax(1)
    off = 1 - torch.eye(5, dtype=torch.float64)
    expected = sum((-(1 - m + 1e-10).log() * off).sum(1).mean() for m in (p, q))
    torch.testing.assert_close(complementary_loss(scores, 0.5).mean(), expected)


def test_a_sure_pair_keeps_its_sum_and_an_unsure_one_becomes_a_share():
    scores = random_scores(6)
    plain = complementary_loss(scores, 0.2, "tan")
    sure = complementary_loss(scores, 0.2, "tan", correspondence=torch.ones(6))
    unsure = complementary_loss(scores, 0.2, "tan", correspondence=torch.zeros(6))
    torch.testing.assert_close(sure, plain)
    assert (unsure < plain).all()
    assert (unsure <= 2).all()  # at most 1 in each direction


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("same", [None, images_of(0, 1, 1, 2)])
def test_gradients(shape, same):
    scores = random_scores(4, 1).requires_grad_()
    y = torch.tensor([0.0, 0.3, 0.8, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: complementary_loss(s, 0.5, shape, same, y), scores)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("gap", [1.0, 100.0, 3e4])
def test_finite_where_a_negative_takes_all_the_probability(shape, kind, gap):
    scores = torch.zeros(3, 3, dtype=kind)
    scores[0, 1], scores[2, 0] = gap, -gap
    scores.requires_grad_()
    y = torch.tensor([0.0, 0.5, 1.0])
    for given in (None, y):
        found = complementary_loss(scores, 0.05, shape, None, given)
        assert found.dtype == torch.float32
        (gradient,) = torch.autograd.grad(found.sum(), scores)
        assert found.isfinite().all()
        assert gradient.isfinite().all()


def test_a_hopeless_negative_is_pushed_at_full_strength_in_float32():
    """1 - p is below the rounding of float32; the slope must be that of -log(1 - p), not of its rounding."""
    scores = torch.tensor([[0.0, 0.9, -0.1], [-3.0, 0.0, -3.0], [-3.0, -3.0, 0.0]])
    wide = scores.double().requires_grad_()
    scores.requires_grad_()
    for s in (scores, wide):
        complementary_loss(s, 0.05)[0].backward()
    assert float((wide.detach() / 0.05).softmax(1)[0, 1]) > 1 - 6e-8
    torch.testing.assert_close(scores.grad.double(), wide.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_without_negatives_it_is_zero(shape, n):
    scores = random_scores(n).requires_grad_()
    same = torch.ones(n, n, dtype=torch.bool)
    for y in (None, torch.zeros(n)):
        found = complementary_loss(scores, 0.05, shape, same, y)
        assert found.tolist() == [0.0] * n
        (gradient,) = torch.autograd.grad(found.sum(), scores)
        assert not gradient.any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected log, tan, abs, exp or gce"):
        complementary_loss(torch.eye(2), shape="sin")
    with pytest.raises(ValueError, match="one number for each of the 2 pairs"):
        complementary_loss(torch.eye(2), correspondence=torch.ones(3))
    with pytest.raises(ValueError, match="temperature"):
        complementary_loss(torch.eye(2), temperature=0.0)
    with pytest.raises(ValueError, match=r"\(B, B\)"):
        complementary_loss(torch.ones(2, 3))


def test_arrays_are_taken():
    scores = random_scores(4)
    torch.testing.assert_close(complementary_loss(scores.numpy(), 0.5), complementary_loss(scores, 0.5))
