"""Exact plans against linear programs, above all where costs differ by many orders of magnitude."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from robustcmr.transport import exact_plan


def least_cost(C, r, c, allowed, mass):
    """By a linear program; None for a balanced plan."""
    n, m = C.shape
    sums = np.concatenate([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    weights, bounds = np.concatenate([r, c]), [(0, None if ok else 0) for ok in allowed.flatten()]
    if mass is None:
        return linprog(C.flatten(), A_eq=sums, b_eq=weights, bounds=bounds).fun
    return linprog(C.flatten(), sums, weights, np.ones((1, n * m)), [mass], bounds=bounds).fun


def problem(n, m, seed, share=0.8):
    rng = np.random.default_rng(seed)
    C, allowed = rng.random((n, m)), rng.random((n, m)) < share
    r, c = rng.random(n) + 0.1, rng.random(m) + 0.1
    return rng, C, r / r.sum(), c / c.sum(), allowed


def solve(C, r, c, allowed, mass):
    plan = exact_plan(*(torch.from_numpy(x) for x in (C, r, c)), mass=mass, allowed=torch.from_numpy(allowed))
    assert bool(plan.converged)
    P = plan.plan.numpy()
    assert (P[~allowed] == 0).all()
    assert (P.sum(1) <= r + 1e-12).all()
    assert (P.sum(0) <= c + 1e-12).all()
    assert P.sum() == pytest.approx(1.0 if mass is None else mass, abs=1e-12)
    return P


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mass", [None, 0.1, 0.5])
@pytest.mark.parametrize("offset", [0.0, -3.0])
def test_is_of_least_cost(seed, mass, offset):
    _, C, r, c, allowed = problem(6, 7, seed, share=1.0 if mass is None else 0.8)
    C = C + offset
    assert (C * solve(C, r, c, allowed, mass)).sum() == pytest.approx(
        least_cost(C, r, c, allowed, mass), abs=1e-9
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("huge", [1e12, 1e16, 1e25])
@pytest.mark.parametrize("mass", [None, 0.3])
def test_huge_costs_that_can_be_avoided_do_not_blur_the_small_ones(seed, huge, mass):
    rng, C, r, c, _ = problem(6, 6, seed)
    dear = rng.permuted(np.arange(36).reshape(6, 6) < 1 + 2 * seed)
    dear[np.arange(6), rng.permutation(6)] = False
    r, c = np.full(6, 1 / 6), np.full(6, 1 / 6)  # so that the other cells can carry all
    P = solve(np.where(dear, huge, C), r, c, np.ones_like(dear), mass)
    assert (P[dear] == 0).all()
    assert (C * P).sum() == pytest.approx(least_cost(C, r, c, ~dear, mass), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_a_huge_cost_that_cannot_be_avoided_is_paid_as_little_as_possible(seed):
    _, C, r, c, _ = problem(4, 4, seed)
    C[0] += 1e12  # the whole first row
    P = solve(C, r, c, np.ones((4, 4), bool), 1 - 0.5 * r[0])
    assert P[0].sum() == pytest.approx(0.5 * r[0], rel=1e-9)


def test_a_cost_of_ten_to_the_sixteen_keeps_the_cheap_plan():
    cost = torch.tensor([[0.1, 0.9, 1e16], [0.9, 0.1, 0.9], [0.9, 0.9, 0.1]], dtype=torch.float64)
    third = torch.full((3,), 1 / 3, dtype=torch.float64)
    for mass in (None, 0.9):
        plan = exact_plan(cost, third, third, mass=mass).plan
        assert float((cost * plan).sum()) == pytest.approx(0.1 * (mass or 1.0))
