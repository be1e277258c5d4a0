"""The released transport against a plain Sinkhorn loop over the problem with dummies, and its defects."""

import pytest
import torch

from robustcmr.correction import dummy_point_plan, rematch


def random_cost(n, m, seed=0):
    return torch.rand(n, m, generator=torch.Generator().manual_seed(seed))


def by_hand(cost, allowed, mass, epsilon, steps=20_000):
    n, m = cost.shape
    K = torch.zeros(n + 1, m + 1, dtype=torch.float64)
    K[:n, :m] = torch.where(allowed, (-cost.double() / epsilon).exp(), 0.0)
    K[n, :m] = K[:n, m] = 1.0
    K[n, m] = float((-2 * cost.double()[allowed].max() / epsilon).exp())
    r = torch.tensor([1 / n] * n + [1 - mass], dtype=torch.float64)
    c = torch.tensor([1 / m] * m + [1 - mass], dtype=torch.float64)
    v = torch.ones(m + 1, dtype=torch.float64)
    for _ in range(steps):
        u = r / (K @ v)
        v = c / (K.T @ u)
    return (u[:, None] * K * v[None, :])[:n, :m]


@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (9, 9)])
@pytest.mark.parametrize("epsilon", [0.07, 0.3])
def test_run_to_the_end_it_is_the_plan_with_dummies(shape, epsilon):
    cost, allowed = random_cost(*shape), torch.eye(*shape) == 0
    result = dummy_point_plan(cost, allowed, 0.1, epsilon, 1e-6)
    expected = by_hand(cost, allowed, 0.1, epsilon).float()
    torch.testing.assert_close(result.plan, expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(result.row_marginal, result.plan.sum(1))
    torch.testing.assert_close(result.column_marginal, result.plan.sum(0))
    assert (result.plan[~allowed] == 0).all()


def test_a_loose_stop_moves_another_mass():
    cost, allowed = random_cost(40, 40), ~torch.eye(40, dtype=torch.bool)
    loose, strict = (dummy_point_plan(cost, allowed, 0.1, 0.01, tolerance) for tolerance in (5e-2, 1e-6))
    assert abs(float(loose.mass) - 0.1) > 0.002
    assert float(strict.mass) == pytest.approx(0.1, abs=1e-5)
    assert float(rematch(cost, allowed, 0.1, 0.01).mass) == pytest.approx(0.1, abs=1e-6)


def test_everything_may_move():
    result = dummy_point_plan(random_cost(4, 6), None, 1.0, 0.1, 1e-6)
    torch.testing.assert_close(result.row_marginal, torch.full((4,), 0.25))
    torch.testing.assert_close(result.column_marginal, torch.full((6,), 1 / 6))


def test_edges_are_those_of_rematching():
    assert dummy_point_plan(torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.bool)).mass == 0
    allowed = torch.tensor([[False, True], [False, False]])
    assert float(dummy_point_plan(torch.ones(2, 2), allowed, 0.8, 0.1).mass) == pytest.approx(0.495, abs=0.01)
    cost = random_cost(8, 8).bfloat16().requires_grad_()
    result = dummy_point_plan(cost)
    assert result.plan.dtype == torch.float32
    assert not result.plan.requires_grad
    with pytest.raises(ValueError, match="mass to rematch"):
        dummy_point_plan(cost, None, 0.0)


def test_negative_costs_are_refused():
    """Twice the largest cost is then no price that keeps mass from passing between the dummies."""
    with pytest.raises(ValueError, match=r"costs must be at least 0, got -0\.5; add a constant to all"):
        dummy_point_plan(torch.tensor([[-0.5, 0.1], [0.3, 0.2]]))
    forbidden = torch.tensor([[False, True], [True, True]])
    assert dummy_point_plan(torch.tensor([[-0.5, 0.1], [0.3, 0.2]]), forbidden).converged
