"""Newton steps against the dual problem differentiated by torch, and what they are for."""

import math

import pytest
import torch

from robustcmr.transport import balanced_plan, dense, partial_plan, unbalanced_plan
from robustcmr.transport.newton import Goal, newton_move

N, M = 6, 4


def goal(held, target, room=math.inf, slack=0.0):
    room = torch.as_tensor(room, dtype=target.dtype).expand(target.shape)
    return Goal(torch.tensor([held], dtype=torch.bool), target[None], room[None], slack)


def plan(seed=0, n=N, m=M):
    generator = torch.Generator().manual_seed(seed)
    P = torch.rand(n, m, generator=generator, dtype=torch.float64).pow(3)
    return P / P.sum()


def dual_step(P, held_r, held_c, target_r, target_c, mass):
    """Newton step by automatic differentiation of sum P exp(u + v + t) - <targets, (u, v)> - mass t."""
    i, j = (torch.tensor(held).nonzero().flatten() for held in (held_r, held_c))

    def loss(x):
        u = torch.zeros(len(P), dtype=x.dtype).index_add(0, i, x[: len(i)])
        v = torch.zeros(P.shape[1], dtype=x.dtype).index_add(0, j, x[len(i) : -1])
        cells = P * (u[:, None] + v + x[-1]).exp()
        return cells.sum() - target_r @ u - target_c @ v - mass * x[-1]

    at = torch.zeros(len(i) + len(j) + 1, dtype=torch.float64)
    gradient = torch.autograd.functional.jacobian(loss, at)
    step = -torch.linalg.solve(torch.autograd.functional.hessian(loss, at), gradient)
    rows = torch.zeros(len(P), dtype=at.dtype).index_add(0, i, step[: len(i)])
    columns = torch.zeros(P.shape[1], dtype=at.dtype).index_add(0, j, step[len(i) : -1])
    return rows, columns, step[-1]


@pytest.mark.parametrize(
    ("held_r", "held_c"),
    [
        ([1, 0, 1, 0, 0, 0], [0, 1, 1, 0]),
        ([0] * N, [1, 1, 0, 0]),
        ([1, 1, 0, 0, 0, 0], [0] * M),
        ([0] * N, [0] * M),
        ([1] * N, [1, 0, 0, 1]),
    ],
)
def test_is_the_newton_step_of_the_dual(held_r, held_c):
    P, mass = plan(), 0.8
    r, c = plan(1).sum(1), plan(1).sum(0)
    if all(held_r):
        r = r * mass  # all the mass is theirs
    move = newton_move(P[None], goal(held_r, r), goal(held_c, c), torch.tensor([[mass]], dtype=torch.float64))
    if all(held_r):  # then a factor of all cells is one of all rows
        expected = dual_step(P, [*held_r[:-1], 0], held_c, r, c, mass)
        assert (move.rows[0] - expected[0] - expected[2]).abs().max() < 1e-9
        assert (move.columns[0] - expected[1]).abs().max() < 1e-9
        return
    for got, want in zip(move, dual_step(P, held_r, held_c, r, c, mass), strict=True):
        assert (got[0] - want).abs().max() < 1e-9


def test_whoever_would_rise_too_far_is_let_go():
    P, room = plan(), torch.tensor([0.05, 9.0, 9.0, 9.0], dtype=torch.float64)
    r, c = P.sum(1), P.sum(0) * torch.tensor([1.5, 0.9, 1.0, 1.0], dtype=torch.float64)
    mass = torch.ones(1, 1, dtype=torch.float64)
    rows, columns = goal([0] * N, r), goal([1, 1, 0, 0], c, room)
    move = newton_move(P[None], rows, columns, mass)
    assert newton_move(P[None], rows, goal([1, 1, 0, 0], c), mass).columns[0, 0] > 0.05
    # The first column stops where it may and is held to nothing; the other steps from there, to first order.
    left = 0.05 * P[:, 0].sum()
    _, others, level = dual_step(P, [0] * N, [0, 1, 0, 0], r, c, 1 - float(left))
    assert (move.columns[0] - torch.tensor([0.05, float(others[1]), 0.0, 0.0])).abs().max() < 1e-7
    assert float(move.level) == pytest.approx(float(level), abs=1e-9)
    turned = newton_move(P.T[None], columns, rows, mass)  # the same where it is a row that is let go
    assert (turned.rows - move.columns).abs().max() < 1e-9
    assert float(turned.level) == pytest.approx(float(level), abs=1e-9)


def crawling(n, m, dtype):
    """Cosine costs where one caption in twelve has its image in the batch: such pairs hold each other."""
    generator = torch.Generator().manual_seed(0)
    images, captions = (torch.randn(48, 32, generator=generator, dtype=torch.float64) for _ in range(2))
    captions[:4] = images[1:5] + 0.7 * captions[:4]
    C = 1 - torch.nn.functional.normalize(images) @ torch.nn.functional.normalize(captions).T
    return C[:n, :m].to(dtype), torch.full((n,), 1 / 48, dtype=dtype), torch.full((m,), 1 / 48, dtype=dtype)


SOLVERS = {
    "partial": lambda *given, **options: partial_plan(*given, 0.3, epsilon=0.015, **options),
    "balanced": lambda C, r, c, **options: balanced_plan(
        C, r / r.sum(), c / c.sum(), epsilon=0.01, **options
    ),
    "unbalanced": lambda *given, **options: unbalanced_plan(*given, epsilon=0.01, penalty=1.0, **options),
}


@pytest.mark.parametrize("size", [(48, 48), (48, 30), (30, 48)])
@pytest.mark.parametrize("kind", list(SOLVERS))
def test_problems_that_crawl_are_solved(kind, size, monkeypatch):
    wide, narrow = (crawling(*size, dtype) for dtype in (torch.float64, torch.float32))
    exact = SOLVERS[kind](*wide, tolerance=1e-11, max_iterations=400)
    fast = SOLVERS[kind](*narrow, tolerance=2e-6, max_iterations=400)
    assert exact.converged.all()
    assert fast.converged.all()
    assert (fast.plan - exact.plan).abs().max() < 1e-3 * exact.plan.max()
    monkeypatch.setattr(dense, "_PATIENCE", 10**9)
    crawled = SOLVERS[kind](*wide, tolerance=1e-11, max_iterations=400)
    assert not crawled.converged.all()
    assert (crawled.marginal_error > 100 * exact.marginal_error).all()
    assert (crawled.plan - exact.plan).abs().max() < 0.1 * exact.plan.max()  # on its way to the same plan


@pytest.mark.parametrize("kind", list(SOLVERS))
def test_padding_is_no_hindrance(kind):
    C, r, c = crawling(48, 30, torch.float64)
    alone = SOLVERS[kind](C, r, c, tolerance=1e-10, max_iterations=400)
    padded = torch.nn.functional.pad(C, (2, 1, 0, 3), value=math.nan).requires_grad_()
    sides = torch.nn.functional.pad(r, (0, 3)), torch.nn.functional.pad(c, (2, 1))
    plan = SOLVERS[kind](padded, *sides, tolerance=1e-10, max_iterations=400, differentiable=True)
    assert plan.converged.all()
    assert (plan.plan[:48, 2:32] - alone.plan).abs().max() < 1e-8
    (slope,) = torch.autograd.grad((plan.plan[:48, 2:32] * C).sum(), padded)
    assert slope.isfinite().all()
    C = C.clone().requires_grad_()
    plan = SOLVERS[kind](C, r, c, tolerance=1e-10, max_iterations=400, differentiable=True)
    (expected,) = torch.autograd.grad((plan.plan * C.detach()).sum(), C)
    assert (slope[:48, 2:32] - expected).abs().max() < 1e-5 * expected.abs().max()


def test_many_that_crawl_are_taken_in_portions(monkeypatch):
    C, r, c = crawling(48, 48, torch.float64)
    alone = SOLVERS["partial"](C, r, c, tolerance=1e-10)
    monkeypatch.setattr(dense, "_CELLS", 2 * 48 * 48)
    taken = []
    monkeypatch.setattr(
        dense, "newton_move", lambda P, *given: (taken.append(len(P)), newton_move(P, *given))[1]
    )
    five = torch.stack([C, C.T, C, torch.zeros_like(C), C + 1])
    together = SOLVERS["partial"](five, r, c, tolerance=1e-10)
    assert together.converged.all()
    assert max(taken) == 2
    for i in (0, 2, 4):
        assert (together.plan[i] - alone.plan).abs().max() < 1e-8


def test_large_problems_take_no_newton_steps(monkeypatch):
    given = crawling(48, 48, torch.float64)
    monkeypatch.setattr(dense, "_LARGEST_SIDE", 47)
    monkeypatch.setattr(dense, "newton_move", lambda *_: pytest.fail("a step that is too dear"))
    assert not SOLVERS["partial"](*given, tolerance=1e-11, max_iterations=100).converged.all()


@pytest.mark.parametrize("size", [(48, 30), (30, 48)])
def test_the_shorter_side_is_solved_for(size, monkeypatch):
    taken = []
    monkeypatch.setattr(
        dense, "newton_move", lambda P, *given: (taken.append(P.shape[1:]), newton_move(P, *given))[1]
    )
    assert SOLVERS["balanced"](*crawling(*size, torch.float64)).converged.all()
    assert set(taken) == {(48, 30)}
