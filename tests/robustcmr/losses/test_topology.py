"""The loss of two structures, and the match probability, against loops."""

import math

import pytest
import torch

from robustcmr.losses import match_probability, topology_loss


def matrix(n, seed):
    return torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(a, b, temperature, same):
    n, found = len(a), []
    for i in range(n):
        products = [sum(float(a[i, k]) * float(b[j, k]) for k in range(n)) / temperature for j in range(n)]
        among = [j for j in range(n) if j == i or not same[i][j]]
        found.append(-products[i] + math.log(sum(math.exp(products[j]) for j in among)))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_formula(temperature):
    a, b = matrix(5, 0), matrix(5, 1)
    images = torch.tensor([0, 0, 1, 2, 3])
    same = images[:, None] == images[None, :]
    none = torch.eye(5, dtype=torch.bool)
    torch.testing.assert_close(topology_loss(a, b, temperature), slow(a, b, temperature, none.tolist()))
    expected = slow(a, b, temperature, same.tolist())
    torch.testing.assert_close(topology_loss(a, b, temperature, same), expected)


def test_one_direction_only():
    a, b = matrix(4, 2), matrix(4, 3)
    assert not torch.allclose(topology_loss(a, b), topology_loss(b, a))


def test_gradients_and_ends():
    a, b = matrix(3, 0).requires_grad_(), matrix(3, 1).requires_grad_()
    assert torch.autograd.gradcheck(topology_loss, (a, b))
    same = torch.ones(3, 3, dtype=torch.bool)
    assert topology_loss(a, b, same_image=same).tolist() == [0.0] * 3
    assert topology_loss(torch.ones(1, 1), torch.ones(1, 1)).tolist() == [0.0]
    half = topology_loss(a.half(), b.half())
    assert half.dtype == torch.float32
    assert half.isfinite().all()
    with pytest.raises(ValueError, match="must be"):
        topology_loss(a, matrix(2, 0))


def test_match_probability():
    scores = matrix(4, 5)
    images = torch.tensor([0, 1, 1, 2])
    same = images[:, None] == images[None, :]
    for mask in (None, same):
        found = match_probability(scores, 0.3, mask)
        for i in range(4):
            among = [j for j in range(4) if j == i or mask is None or not mask[i, j]]
            row = sum(math.exp(float(scores[i, j]) / 0.3) for j in among)
            column = sum(math.exp(float(scores[j, i]) / 0.3) for j in among)
            own = math.exp(float(scores[i, i]) / 0.3)
            assert float(found[i]) == pytest.approx((own / row + own / column) / 2)
    assert match_probability(scores.half(), 0.05).dtype == torch.float32
