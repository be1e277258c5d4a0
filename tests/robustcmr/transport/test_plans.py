"""Balanced, partial, unbalanced and exact plans against POT, a slow loop, closed forms and symmetries."""

import logging

import numpy as np
import ot
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st

from robustcmr.errors import InfeasibleTransportError, UserError
from robustcmr.transport import (
    balanced_plan,
    dense,
    exact_plan,
    feasible_mass,
    partial_plan,
    problems,
    scaling,
    sinkhorn_plan,
    unbalanced_plan,
)

TIGHT = {"tolerance": 1e-11, "max_iterations": 20_000}


def problem(n=7, m=5, batch=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    C = torch.rand(batch, n, m, generator=generator, dtype=torch.float64)
    r = torch.rand(batch, n, generator=generator, dtype=torch.float64) + 0.1
    c = torch.rand(batch, m, generator=generator, dtype=torch.float64) + 0.1
    return C.to(dtype), (r / r.sum(-1, keepdim=True)).to(dtype), (c / c.sum(-1, keepdim=True)).to(dtype)


def plain(kind, C, r, c, **options):
    """One solver by name, at values that suit the tests."""
    options = {"epsilon": 0.05, **options}
    if kind == "balanced":
        return balanced_plan(C, r, c, **options)
    if kind == "partial":
        return partial_plan(C, r, c, options.pop("mass", 0.6), allowed=options.pop("mask", None), **options)
    return unbalanced_plan(C, r, c, penalty=0.4, **options)


def numpy(*tensors):
    return [x.detach().numpy() for x in tensors]


def slow_partial(C, r, c, mass, epsilon, sweeps=20_000):
    """Alternating projections with the corrections of Dykstra, cell by cell arrays, in float64."""
    P = np.exp(-C / epsilon)
    corrections = [np.ones_like(P) for _ in range(3)]

    def project(k, Q):
        if k == 0:
            return Q * np.minimum(1, r / Q.sum(1))[:, None]
        if k == 1:
            return Q * np.minimum(1, c / Q.sum(0))
        return Q * (mass / Q.sum())

    for _ in range(sweeps):
        before = P
        for k in range(3):
            Q = P * corrections[k]
            P = project(k, Q)
            corrections[k] = Q / P
        if np.abs(P - before).max() < 1e-15:
            break
    return P


@pytest.mark.parametrize("epsilon", [0.3, 0.05])
def test_balanced_agrees_with_pot(epsilon):
    C, r, c = problem()
    plan = balanced_plan(C, r, c, epsilon=epsilon, **TIGHT)
    for i in range(3):
        expected = ot.sinkhorn(
            *numpy(r[i], c[i], C[i]), epsilon, method="sinkhorn_log", stopThr=1e-13, numItermax=50_000
        )
        assert np.abs(plan.plan[i].numpy() - expected).max() < 1e-10


@pytest.mark.parametrize("epsilon", [0.3, 0.05, 0.02])
@pytest.mark.parametrize("mass", [0.05, 0.6, 0.9])
def test_partial_agrees_with_pot_and_the_slow_loop(epsilon, mass):
    C, r, c = problem()
    plan = partial_plan(C, r, c, mass, epsilon=epsilon, **TIGHT)
    for i in range(3):
        arrays = numpy(r[i], c[i], C[i])
        expected = ot.partial.entropic_partial_wasserstein(
            *arrays, epsilon, m=mass, numItermax=5_000, stopThr=1e-14, method="sinkhorn_log"
        )
        assert np.abs(plan.plan[i].numpy() - expected).max() < 1e-9
        slow = slow_partial(arrays[2], arrays[0], arrays[1], mass, epsilon)
        assert np.abs(plan.plan[i].numpy() - slow).max() < 1e-9


@pytest.mark.parametrize(("epsilon", "penalty"), [(0.1, 0.5), (0.05, 2.0)])
def test_unbalanced_agrees_with_pot(epsilon, penalty):
    C, r, c = problem()
    r = 1.7 * r
    plan = unbalanced_plan(C, r, c, epsilon=epsilon, penalty=penalty, **TIGHT)
    for i in range(3):
        expected = ot.unbalanced.sinkhorn_unbalanced(
            *numpy(r[i], c[i], C[i]), epsilon, penalty, reg_type="kl", stopThr=1e-14, numItermax=50_000
        )
        assert np.abs(plan.plan[i].numpy() - expected).max() < 1e-9


def test_unbalanced_of_one_cell_has_a_closed_form():
    one = torch.ones(1, dtype=torch.float64)
    plan = unbalanced_plan(0.7 * one[None], 2 * one, 3 * one, epsilon=0.1, penalty=0.4, **TIGHT)
    # C + epsilon log(p / 6) + penalty (log(p / 2) + log(p / 3)) = 0
    expected = 6 ** ((0.1 + 0.4) / 0.9) * np.exp(-0.7 / 0.9)
    assert float(plan.mass) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(2, 12),
    m=st.integers(2, 12),
    epsilon=st.sampled_from([1.0, 0.1, 0.01, 0.003]),
    share=st.floats(0.05, 0.9),
    spread=st.floats(0.1, 3.0),
    seed=st.integers(0, 1000),
)
def test_partial_meets_the_conditions_of_the_optimum(n, m, epsilon, share, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    C = torch.randn(n, m, generator=generator, dtype=torch.float64) * spread * 0.3
    r, c = (torch.rand(k, generator=generator, dtype=torch.float64) + 0.2 for k in (n, m))
    mask = torch.rand(n, m, generator=generator) > 0.2
    mass = share * float(feasible_mass(r, c, mask))
    assume(mass > 0)
    plan = partial_plan(C, r, c, mass, epsilon=epsilon, allowed=mask, tolerance=1e-10)
    assert plan.converged
    P = plan.plan
    assert (P[~mask] == 0).all()
    assert float(P.sum()) == pytest.approx(mass, rel=1e-9)
    assert (P.sum(1) < r + 1e-9).all()
    assert (P.sum(0) < c + 1e-9).all()
    # epsilon log P + C is a constant, less a price of every row and column that is full, on cells with mass
    seen = mask & (P > 1e-30)
    prices = torch.cat([(r - P.sum(1)) < 1e-8, (c - P.sum(0)) < 1e-8])
    i, j = seen.nonzero().unbind(1)
    columns = torch.zeros(len(i), 1 + n + m, dtype=torch.float64)
    columns[:, 0] = 1
    columns[range(len(i)), 1 + i], columns[range(len(i)), 1 + n + j] = -1.0, -1.0
    columns[:, 1:] *= prices
    level = P[seen].log() * epsilon + C[seen]
    from scipy.optimize import lsq_linear

    bounds = ([-np.inf] + [0] * (n + m), np.inf)
    left = lsq_linear(columns.numpy(), level.numpy(), bounds, tol=1e-13, method="bvls")
    assert np.abs(left.fun).max() < 1e-5


def test_partial_becomes_exact_as_the_entropy_vanishes():
    C, r, c = problem(n=6, m=6)
    mask = ~torch.eye(6, dtype=torch.bool)
    for options in ({"allowed": None}, {"allowed": mask}):
        exact = exact_plan(C, r, c, mass=0.5, **options)
        costs = [
            (C * partial_plan(C, r, c, 0.5, epsilon=e, tolerance=1e-7, **options).plan).sum((-2, -1))
            for e in (0.1, 0.01, 0.002)
        ]
        gaps = [float((cost - (C * exact.plan).sum((-2, -1))).max()) for cost in costs]
        assert gaps[0] > gaps[1] > gaps[2] > -1e-6
        assert gaps[2] < 1e-3


def test_exact_agrees_with_pot():
    C, r, c = problem()
    partial, balanced = exact_plan(C, r, c, mass=0.4), exact_plan(C, r, c)
    for i in range(3):
        arrays = numpy(r[i], c[i], C[i])
        cost = (C[i] * partial.plan[i]).sum()
        assert float(cost) == pytest.approx(ot.partial.partial_wasserstein2(*arrays, m=0.4), abs=1e-9)
        assert float((C[i] * balanced.plan[i]).sum()) == pytest.approx(ot.emd2(*arrays), abs=1e-9)
    assert partial.converged.all()
    assert balanced.converged.all()
    assert partial.iterations == 0
    assert (partial.mass - 0.4).abs().max() < 1e-9


def test_exact_masked_agrees_with_a_linear_program():
    from scipy.optimize import linprog

    C, r, c = problem(batch=1, n=5, m=5)
    mask = torch.rand(5, 5, generator=torch.Generator().manual_seed(1)) > 0.4
    limits = np.concatenate([np.kron(np.eye(5), np.ones(5)), np.kron(np.ones(5), np.eye(5))])
    bounds = [(0, None if ok else 0) for ok in mask.flatten().tolist()]
    answer = linprog(
        C.flatten().numpy(), limits, np.concatenate([r[0], c[0]]), np.ones((1, 25)), [0.3], bounds=bounds
    )
    plan = exact_plan(C, r, c, mass=0.3, allowed=mask)
    assert float((C * plan.plan).sum()) == pytest.approx(answer.fun, abs=1e-9)
    assert (plan.plan[0][~mask] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_mass_and_record(dtype):
    C, r, c = problem(dtype=dtype)
    plan = balanced_plan(C, r, c, epsilon=0.05)
    assert plan.plan.dtype == dtype
    assert plan.converged.all()
    assert plan.marginal_error.shape == plan.mass.shape == (3,)
    assert ((plan.plan.sum(-1) - r).abs().sum(-1) <= 2e-6).all()
    assert ((plan.plan.sum(-2) - c).abs().sum(-1) <= 2e-6).all()
    torch.testing.assert_close(plan.row_marginal, plan.plan.sum(-1))
    torch.testing.assert_close(plan.column_marginal, plan.plan.sum(-2))
    masses = torch.tensor([0.2, 0.5, 0.95], dtype=dtype)
    plan = partial_plan(C, r, c, masses, epsilon=0.05)
    assert ((plan.mass - masses).abs() < 2e-6).all()
    assert (plan.row_marginal <= r + 2e-6).all()
    assert (plan.column_marginal <= c + 2e-6).all()


@pytest.mark.parametrize("kind", ["balanced", "partial", "unbalanced"])
def test_batch_equals_loop(kind):
    C, r, c = problem()
    options = {"mass": torch.tensor([0.2, 0.5, 0.9])} if kind == "partial" else {}
    together = plain(
        kind,
        C.view(3, 1, 7, 5),
        r.view(3, 1, 7),
        c.view(3, 1, 5),
        **TIGHT,
        **{key: value.view(3, 1) for key, value in options.items()},
    )
    assert together.mass.shape == (3, 1)
    for i in range(3):
        alone = plain(kind, C[i], r[i], c[i], **TIGHT, **{key: value[i] for key, value in options.items()})
        assert alone.mass.shape == ()
        assert (together.plan[i, 0] - alone.plan).abs().max() < 1e-9


@pytest.mark.parametrize("kind", ["balanced", "partial", "unbalanced"])
def test_padding_masks_and_weights_of_zero(kind):
    C, r, c = problem()
    small = plain(kind, C, r, c, **TIGHT)
    padded = torch.full((3, 9, 8), torch.nan, dtype=torch.float64)
    padded[:, 1:8, :5] = C
    big = plain(
        kind,
        padded,
        torch.nn.functional.pad(r, (1, 1)),
        torch.nn.functional.pad(c, (0, 3)),
        **TIGHT,
    )
    assert (big.plan[:, 1:8, :5] - small.plan).abs().max() < 1e-9
    outside = torch.ones(9, 8, dtype=torch.bool)
    outside[1:8, :5] = False
    assert (big.plan[:, outside] == 0).all()
    mask = torch.rand(3, 7, 5, generator=torch.Generator().manual_seed(2)) > 0.15
    forbidden = plain(kind, C, r, c, mask=mask, **TIGHT)
    assert (forbidden.plan[~mask] == 0).all()
    costly = plain(kind, torch.where(mask, C, 30.0), r, c, **TIGHT)
    assert (forbidden.plan - costly.plan).abs().max() < 1e-9


@pytest.mark.parametrize("kind", ["balanced", "partial", "unbalanced"])
def test_order_and_sides_do_not_matter(kind):
    C, r, c = problem()
    generator = torch.Generator().manual_seed(3)
    i, j = torch.randperm(7, generator=generator), torch.randperm(5, generator=generator)
    plan = plain(kind, C, r, c, **TIGHT).plan
    shuffled = plain(kind, C[:, i][:, :, j], r[:, i], c[:, j], **TIGHT).plan
    assert (shuffled - plan[:, i][:, :, j]).abs().max() < 1e-9
    turned = plain(kind, C.mT, c, r, **TIGHT).plan
    assert (turned.mT - plan).abs().max() < 1e-9


@pytest.mark.parametrize("kind", ["balanced", "partial"])
def test_a_constant_on_all_costs_changes_nothing(kind):
    C, r, c = problem(dtype=torch.float32)
    C = (C * 64).round() / 64  # so that float32 holds the moved costs exactly
    plan, moved = plain(kind, C, r, c), plain(kind, C + 4096, r, c)
    assert (plan.plan - moved.plan).abs().max() < 1e-6


@pytest.mark.parametrize("kind", ["balanced", "partial", "unbalanced"])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_float32_stays_true_at_small_epsilon(kind, scale):
    C, r, c = problem(n=12, m=9, batch=2)
    # thousands of epsilons between the cheapest and the dearest cell: a bare kernel would be all zeros
    options = {"epsilon": 1e-3 * scale}
    if kind == "unbalanced":
        options["epsilon"] = 1e-3
        scale = 1.0
    wide = plain(kind, scale * C, r, c, tolerance=1e-7, max_iterations=20_000, **options)
    narrow = plain(kind, scale * C.float(), r.float(), c.float(), tolerance=1e-5, **options)
    assert wide.converged.all()
    assert narrow.converged.all()
    assert narrow.plan.dtype == torch.float32
    assert narrow.plan.isfinite().all()
    cost = [float((C * x.plan).sum()) for x in (wide, narrow)]
    assert cost[1] == pytest.approx(cost[0], rel=1e-3)
    assert (narrow.plan - wide.plan).abs().max() < 2e-3


@pytest.mark.parametrize("kind", ["balanced", "partial", "unbalanced"])
def test_gradients(kind):
    C, r, c = problem(n=4, m=3, batch=2)
    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[1, 2] = False
    logits = [x.log().requires_grad_() for x in (r, c)]
    C = C.requires_grad_()

    def plan(C, a, b):
        r, c = a.softmax(-1), b.softmax(-1)
        return plain(kind, C, r, c, epsilon=0.2, mask=mask, tolerance=1e-12, differentiable=True).plan

    assert torch.autograd.gradcheck(plan, (C, *logits), eps=1e-6, atol=1e-5)
    detached = plain(kind, C, r, c, epsilon=0.2)
    assert not detached.plan.requires_grad
    assert not detached.marginal_error.requires_grad


def test_gradient_by_the_mass():
    C, r, c = problem(n=4, m=3, batch=1)
    mass = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    plan = partial_plan(C, r, c, mass, epsilon=0.2, tolerance=1e-12, differentiable=True)
    (slope,) = torch.autograd.grad(plan.mass.sum(), mass)
    assert float(slope) == pytest.approx(1.0, abs=1e-9)


def test_the_whole_mass_of_the_smaller_side():
    C, r, c = problem()
    r = 0.5 * r
    plan = partial_plan(C, r, c, 0.5, epsilon=0.1, **TIGHT)
    assert (plan.row_marginal - r).abs().max() < 1e-9
    rounded = partial_plan(C, r, c, 0.5 * (1 + 5e-6), epsilon=0.1, tolerance=1e-9)
    assert rounded.converged.all()
    full = partial_plan(C.float(), r.float(), 0.5 * c.float(), 0.5, epsilon=0.1)
    assert (full.plan - balanced_plan(C, r, 0.5 * c, epsilon=0.1).plan).abs().max() < 1e-5


def test_not_converged_warns_once(caplog):
    C, r, c = problem()
    with caplog.at_level(logging.WARNING):
        plan = balanced_plan(C, r, c, epsilon=0.01, max_iterations=7)
    assert plan.iterations == 7
    assert not plan.converged.all()
    assert float(plan.marginal_error.max()) > 1e-6
    assert len(caplog.records) == 1
    assert "did not converge in 7 iterations" in caplog.text
    assert partial_plan(C, r, c, 0.3, epsilon=0.01, max_iterations=1).plan.isfinite().all()


def test_one_infeasible_mass_among_many_is_named():
    C, r, c = problem()
    mask = torch.ones(3, 7, 5, dtype=torch.bool)
    mask[1, :, 1:] = False  # only the first column of problem 1
    bound = float(c[1, 0])
    for solve in (
        lambda: partial_plan(C, r, c, 0.6, epsilon=0.1, allowed=mask),
        lambda: exact_plan(C, r, c, mass=0.6, allowed=mask),
        lambda: balanced_plan(C, r, c, epsilon=0.1, mask=mask),
        lambda: exact_plan(C, r, c, allowed=mask),
    ):
        with pytest.raises(InfeasibleTransportError, match=f"problem 1 .* at most {bound:.6g}"):
            solve()


def test_infeasible_beyond_the_cheap_test():
    # Rows 0 and 1 share column 0; each row alone, and each column alone, could carry enough.
    C, w = torch.rand(3, 3, generator=torch.Generator().manual_seed(0)), torch.ones(3)
    mask = torch.tensor([[True, False, False], [True, False, False], [True, True, True]])
    assert float(feasible_mass(w, w, mask)) == pytest.approx(2.0)
    for solve in (
        lambda: partial_plan(C, w, w, 2.5, epsilon=0.1, allowed=mask, max_iterations=500),
        lambda: balanced_plan(C, w, w, epsilon=0.1, mask=mask, max_iterations=500),
        lambda: exact_plan(C, w, w, mass=2.5, allowed=mask),
        lambda: exact_plan(C, w, w, allowed=mask),
    ):
        with pytest.raises(InfeasibleTransportError, match="at most 2 pass"):
            solve()
    assert partial_plan(C, w, w, 1.9, epsilon=0.1, allowed=mask).converged.all()


def test_feasible_mass_agrees_with_a_linear_program():
    from scipy.optimize import linprog

    _, r, c = problem(batch=4)
    generator = torch.Generator().manual_seed(5)
    limits = np.concatenate([np.kron(np.eye(7), np.ones(5)), np.kron(np.ones(7), np.eye(5))])
    for i in range(4):
        mask = torch.rand(7, 5, generator=generator) > 0.7
        bounds = [(0, None if ok else 0) for ok in mask.flatten().tolist()]
        most = -linprog(-np.ones(35), limits, np.concatenate([r[i], c[i]]), bounds=bounds).fun
        assert float(feasible_mass(r[i], c[i], mask)) == pytest.approx(most, abs=1e-9)


def test_empty_sides():
    with pytest.raises(InfeasibleTransportError, match="empty side"):
        balanced_plan(torch.ones(0, 3), torch.ones(0), torch.ones(3), epsilon=0.1)
    C, r, c = problem()
    r[1] = 0
    for kind in ("balanced", "partial", "unbalanced"):
        with pytest.raises(InfeasibleTransportError, match="weights sum to 0;"):
            plain(kind, C, r, c)
    assert issubclass(InfeasibleTransportError, UserError)


def test_bad_input():
    C, r, c = problem()
    with pytest.raises(InfeasibleTransportError, match="equal sums"):
        balanced_plan(C, 2 * r, c, epsilon=0.1)
    with pytest.raises(ValueError, match="7 x 5 needs"):
        balanced_plan(C, c, r, epsilon=0.1)
    with pytest.raises(ValueError, match="must be bool"):
        balanced_plan(C, r, c, epsilon=0.1, mask=torch.ones(7, 5))
    with pytest.raises(ValueError, match="not negative"):
        balanced_plan(C, -r, -c, epsilon=0.1)
    with pytest.raises(ValueError, match="finite"):
        balanced_plan(C * torch.nan, r, c, epsilon=0.1)
    with pytest.raises(ValueError, match="positive"):
        balanced_plan(C, r, c, epsilon=0.0)
    for mass in (0.0, -1.0, torch.nan):
        with pytest.raises(ValueError, match="mass to move"):
            partial_plan(C, r, c, mass, epsilon=0.1)
    with pytest.raises(ValueError, match="penalty"):
        unbalanced_plan(C, r, c, epsilon=0.1, penalty=torch.inf)


def test_half_precision_is_widened():
    C, r, c = problem()
    for dtype in (torch.float16, torch.bfloat16):
        plan = balanced_plan(C.to(dtype), r.to(dtype), c.to(dtype), epsilon=0.1)
        assert plan.plan.dtype == torch.float32
        assert plan.converged.all()


@pytest.mark.parametrize("kind", ["balanced", "partial", "unbalanced"])
def test_vectors_of_torch_and_of_numpy_agree(kind, monkeypatch):
    C, r, c = problem(n=16, m=12)
    options = {"epsilon": 0.01, "tolerance": 1e-10}
    by_numpy = plain(kind, C, r, c, **options)
    for module in (dense, scaling):
        monkeypatch.setattr(module, "vector", lambda x: x.detach())  # as on a device other than the CPU
    by_torch = plain(kind, C, r, c, **options)
    assert by_torch.converged.all()
    assert by_torch.iterations == by_numpy.iterations
    assert (by_torch.plan - by_numpy.plan).abs().max() < 1e-12
    assert by_torch.mass.shape == by_numpy.mass.shape == (3,)


@pytest.mark.parametrize("kind", ["balanced", "partial", "unbalanced"])
@pytest.mark.parametrize("differentiable", [False, True])
def test_what_is_given_is_left_as_it_is(kind, differentiable):
    given = problem(dtype=torch.float32)
    mask = torch.rand(7, 5, generator=torch.Generator().manual_seed(2)) > 0.1
    before = [x.clone() for x in (*given, mask)]
    plain(kind, *given, differentiable=differentiable)
    plain(kind, *given, mask=mask, differentiable=differentiable)
    for x, y in zip((*given, mask), before, strict=True):
        assert torch.equal(x, y)


def test_parts_of_a_batch_may_be_shared():
    C, r, c = problem()
    mask = torch.rand(3, 7, 5, generator=torch.Generator().manual_seed(2)) > 0.1
    mass = torch.tensor([0.3, 0.4, 0.5], dtype=torch.float64)
    every = partial_plan(C[:1].expand(3, -1, -1), r, c[:1].expand(3, -1), mass, epsilon=0.1, allowed=mask)
    shared = partial_plan(C[0], r, c[0], mass, epsilon=0.1, allowed=mask)
    assert torch.equal(shared.plan, every.plan)
    assert shared.mass.shape == (3,)
    weights_alone = partial_plan(C[0], r, c[0], 0.4, epsilon=0.1)
    assert weights_alone.mass.shape == (3,)
    assert (weights_alone.plan[2] - partial_plan(C[0], r[2], c[0], 0.4, epsilon=0.1).plan).abs().max() < 1e-6


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_costs_count_only_where_mass_is_allowed(bad):
    C, r, c = problem(batch=1)
    mask = torch.ones(7, 5, dtype=torch.bool)
    mask[2, 3] = False
    spoilt = C.masked_fill(~mask, bad)
    for kind in ("balanced", "partial", "unbalanced"):
        expected = plain(kind, C, r, c, mask=mask)
        assert (plain(kind, spoilt, r, c, mask=mask).plan - expected.plan).abs().max() < 1e-12
        with pytest.raises(ValueError, match="finite"):
            plain(kind, spoilt, r, c)
    assert (exact_plan(spoilt, r, c, mass=0.5, allowed=mask).plan[0, 2, 3] == 0).all()


@pytest.mark.parametrize("kind", ["partial", "unbalanced"])
def test_a_row_without_a_cell_sends_nothing(kind):
    C, r, c = problem()
    mask = torch.ones(3, 7, 5, dtype=torch.bool)
    mask[:, 2] = False
    mask[1, :, 4] = False
    plan = plain(kind, C, r, c, mask=mask, mass=0.3) if kind == "partial" else plain(kind, C, r, c, mask=mask)
    assert plan.converged.all()
    assert plan.iterations < 200
    assert (plan.plan[~mask] == 0).all()
    smaller = [C[0, [0, 1, 3, 4, 5, 6]], r[0, [0, 1, 3, 4, 5, 6]], c[0]]
    expected = plain(kind, *smaller, mass=0.3) if kind == "partial" else plain(kind, *smaller)
    assert (plan.plan[0, [0, 1, 3, 4, 5, 6]] - expected.plan).abs().max() < 1e-6


def test_what_a_mask_plainly_forbids_is_found_soon():
    C, r, c = problem()
    mask = torch.ones(3, 7, 5, dtype=torch.bool)
    mask[1, :, 1:] = False
    given = problems.prepare(C, r, c, mask, 0.6)
    assert problems.overloaded(given).tolist() == [False, True, False]
    for i in range(3):
        assert (float(feasible_mass(r[i], c[i], mask[i])) < 0.6) == (i == 1)
    with pytest.MonkeyPatch.context() as patch:
        sweeps, sweep = [], scaling.sweep
        patch.setattr(scaling, "sweep", lambda *given: (sweeps.append(1), sweep(*given))[1])
        with pytest.raises(InfeasibleTransportError, match="problem 1"):
            partial_plan(C, r, c, 0.6, epsilon=0.1, allowed=mask)
    assert len(sweeps) < 40


@pytest.mark.parametrize("kind", ["balanced", "partial", "unbalanced"])
def test_gradients_where_rows_and_columns_hold_each_other(kind):
    C, r, c = problem(n=5, m=5, batch=2)
    C = C + 1 - torch.eye(5)
    C.requires_grad_()

    def plan(C):
        return plain(kind, C, r, c, epsilon=0.1, tolerance=1e-12, differentiable=True).plan

    assert torch.autograd.gradcheck(plan, (C,), eps=1e-6, atol=1e-5)
    with torch.no_grad():
        assert not plan(C).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cells_far_from_the_cheapest_are_not_lost(dtype):
    generator = torch.Generator().manual_seed(0)
    C = 58 + 12 * torch.rand(6, 6, generator=generator, dtype=torch.float64)
    C[0, 0] = 0.0  # full at once, and the others are so dear that a kernel of it hardly knows them
    w = torch.full((6,), 1 / 6, dtype=torch.float64)
    plan = partial_plan(C.to(dtype), w.to(dtype), w.to(dtype), 1 / 6 + 0.02, epsilon=1.0, tolerance=1e-5)
    expected = torch.zeros(6, 6, dtype=torch.float64)
    expected[0, 0] = 1 / 6
    expected[1:, 1:] = 0.02 * (-C[1:, 1:]).flatten().softmax(0).view(5, 5)  # and none of these is full
    assert plan.converged
    assert (plan.plan - expected).abs().max() < 2e-6


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-3])
def test_a_loose_tolerance_holds_for_the_mass_too(tolerance):
    generator = torch.Generator().manual_seed(0)
    C = torch.rand(200, 9, 7, generator=generator, dtype=torch.float64)
    r, c = (torch.rand(200, k, generator=generator, dtype=torch.float64).pow(4) + 1e-3 for k in (9, 7))
    mass = 0.8 * torch.minimum(r.sum(-1), c.sum(-1))
    for i in range(200):  # one by one, so that each stops as soon as it may
        plan = partial_plan(C[i], r[i], c[i], mass[i], epsilon=0.02, tolerance=tolerance)
        assert float((plan.plan.sum() - mass[i]).abs()) <= tolerance * float(mass[i])
        assert float(plan.marginal_error) <= tolerance


@pytest.mark.parametrize("seed", [14, 16, 17, 21])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-6])
def test_rows_above_their_weights_count_even_if_never_scaled_down(seed, tolerance):
    """Here the columns raise the common factor after the rows were scaled, in the first iteration."""
    generator = torch.Generator().manual_seed(seed)
    n, m = torch.randint(2, 12, (2,), generator=generator).tolist()
    C = torch.rand(n, m, generator=generator, dtype=torch.float64)
    r, c = (torch.rand(k, generator=generator, dtype=torch.float64) + 0.1 for k in (n, m))
    for epsilon in (0.05, 0.01):
        for share in (0.3, 0.7):
            mass = share * float(min(r.sum(), c.sum()))
            plan = partial_plan(C, r, c, mass, epsilon=epsilon, tolerance=tolerance)
            over = (plan.row_marginal - r).clamp(min=0).sum() + (plan.column_marginal - c).clamp(min=0).sum()
            assert plan.converged
            assert float(over) <= tolerance * mass


def test_more_mass_than_a_side_has():
    C, r, c = problem()
    with pytest.raises(InfeasibleTransportError, match=r"problem 0 .* mass of 1.2, .* at most 1 pass"):
        partial_plan(C, r, c, 1.2, epsilon=0.1)
    with pytest.raises(InfeasibleTransportError, match=r"problem 2 .* mass of 1.2"):
        partial_plan(C, r, c, torch.tensor([0.1, 0.2, 1.2]), epsilon=0.1)


def padded_problem(seed=0):
    generator = torch.Generator().manual_seed(seed)
    S = torch.rand(3, 5, 4, dtype=torch.float64, generator=generator) * 2 - 1
    a = torch.tensor([[0.2] * 5, [0.5, 0.5, 0, 0, 0], [0.1, 0.2, 0.3, 0.4, 0]], dtype=torch.float64)
    b = torch.tensor([[0.25] * 4, [0.0, 0.5, 0.5, 0.0], [1.0, 0, 0, 0]], dtype=torch.float64)
    return S, a, b


@pytest.mark.parametrize("smoothing", [0.05, 0.001])
def test_sinkhorn_meets_columns_and_rows_approach(smoothing):
    S, a, b = padded_problem()
    plan = sinkhorn_plan(S, a, b, smoothing=smoothing, iterations=3)
    assert (plan >= 0).all()
    assert (plan.sum(-2) - b).abs().max() < 1e-12
    off = [
        (sinkhorn_plan(S, a, b, smoothing=0.2, iterations=T).sum(-1) - a).abs().sum().item()
        for T in (1, 3, 100)
    ]
    assert off[0] > off[1] > off[2]
    assert off[2] < 1e-6


def test_sinkhorn_equals_the_scaling_of_the_kernel():
    S, a, b = padded_problem()
    plan = sinkhorn_plan(S, a, b, smoothing=0.1, iterations=2)
    P = torch.exp(S[0] / 0.1)
    for _ in range(2):
        P = P * (a[0] / P.sum(1)).unsqueeze(1)
        P = P * (b[0] / P.sum(0))
    assert (plan[0] - P).abs().max() < 1e-12
    assert (plan[1, 2:] == 0).all()
    assert (plan[1][:, [0, 3]] == 0).all()


def test_sinkhorn_agrees_with_pot():
    S, a, b = padded_problem()
    plan = sinkhorn_plan(S, a, b, smoothing=0.1, iterations=2000)
    expected = ot.sinkhorn(a[0].numpy(), b[0].numpy(), 1 - S[0].numpy(), 0.1, stopThr=1e-13, numItermax=5000)
    assert (plan[0] - torch.from_numpy(expected)).abs().max() < 1e-9


def test_sinkhorn_widens_half_precision():
    S, a, b = padded_problem()
    assert sinkhorn_plan(S.half(), a.half(), b.half(), smoothing=0.05, iterations=3).dtype == torch.float32


def even(problem_cost, mass=None, mask=None):
    """The plan of even weights and default smoothing, and the same spelt out."""
    n, m = problem_cost.shape[-2:]
    weights = torch.full((n,), 1 / n).to(problem_cost), torch.full((m,), 1 / m).to(problem_cost)
    counted = problem_cost if mask is None else problem_cost[mask]
    options = {"epsilon": 0.05 * float(counted.std(correction=0)), "tolerance": 1e-9}
    if mass is None:
        return balanced_plan(problem_cost, mask=mask, tolerance=1e-9), balanced_plan(
            problem_cost, *weights, mask=mask, **options
        )
    short = partial_plan(problem_cost, mass=mass, allowed=mask, tolerance=1e-9)
    return short, partial_plan(problem_cost, *weights, mass, allowed=mask, **options)


@pytest.mark.parametrize("mass", [None, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_a_cost_alone_is_smoothed_by_a_share_of_its_deviation(mass, masked):
    generator = torch.Generator().manual_seed(0)
    C = torch.rand(9, 7, generator=generator, dtype=torch.float64)
    mask = torch.rand(9, 7, generator=generator) > 0.1 if masked else None
    short, full = even(C, mass, mask)
    assert bool(short.converged)
    assert (short.plan - full.plan).abs().max() < 1e-9
    assert float(short.mass) == pytest.approx(1.0 if mass is None else mass)


@pytest.mark.parametrize("plan", [lambda C: partial_plan(C, mass=0.3), balanced_plan])
def test_the_default_does_not_depend_on_unit_offset_or_batch(plan):
    generator = torch.Generator().manual_seed(0)
    C = torch.rand(3, 8, 6, generator=generator, dtype=torch.float64)
    C[1] *= 1e4
    C[2] = 1e-6 * C[2] - 3
    every, first = plan(C).plan, plan(C[0]).plan
    for i in range(3):
        assert (every[i] - plan(C[i]).plan).abs().max() < 1e-6
    assert (plan(100 - 250 * (1 - C[0])).plan - first).abs().max() < 1e-5


def test_equal_costs_and_their_rounding_give_an_even_plan():
    for C in (
        torch.full((4, 3), 0.1),
        torch.zeros(4, 3),
        1 - torch.full((4, 3), 0.1).nextafter(torch.rand(4, 3)),
    ):
        for plan in (balanced_plan(C).plan, partial_plan(C, mass=1.0).plan):
            assert (plan - 1 / 12).abs().max() < 0.02


@pytest.mark.parametrize("kind", ["normal", "cosine", "exponential"])
def test_the_default_is_near_the_exact_plan(kind):
    generator = torch.Generator().manual_seed(1)
    C = {
        "normal": lambda: torch.randn(40, 30, generator=generator),
        "cosine": lambda: 1 - torch.randn(40, 64, generator=generator) @ torch.randn(64, 30) / 64,
        "exponential": lambda: torch.empty(40, 30).exponential_(generator=generator),
    }[kind]()
    excess = ((partial_plan(C, mass=0.3).plan - exact_plan(C, mass=0.3).plan) * C).sum() / 0.3
    assert -1e-3 < float(excess / C.std()) < 0.05


def test_gradients_reach_a_cost_that_is_smoothed_by_default():
    C = torch.rand(5, 4, dtype=torch.float64, requires_grad=True)
    plan = partial_plan(C, mass=0.3, differentiable=True).plan
    assert not partial_plan(C, mass=0.3).plan.requires_grad
    weights = torch.full((5,), 0.2, dtype=torch.float64), torch.full((4,), 0.25, dtype=torch.float64)
    epsilon = 0.05 * float(C.detach().std(correction=0))
    same = partial_plan(C, *weights, 0.3, epsilon=epsilon, differentiable=True).plan
    given = torch.rand(5, 4, dtype=torch.float64)
    one, other = (torch.autograd.grad((x * given).sum(), C)[0] for x in (plan, same))
    assert (one - other).abs().max() < 1e-4 * other.abs().max()


def test_one_side_alone_lends_the_other_its_sum():
    C, rows = torch.rand(2, 4, 3), torch.tensor([[1.0, 2.0, 0.0, 3.0], [1.0, 1.0, 1.0, 1.0]])
    for plan in (balanced_plan(C, rows), balanced_plan(C.mT, column_weights=rows)):
        assert (plan.mass - torch.tensor([6.0, 4.0])).abs().max() < 1e-4
    assert float(exact_plan(C[0], rows[0]).column_marginal[0]) == pytest.approx(2.0)
    assert bool(unbalanced_plan(C, rows, epsilon=0.1, penalty=1.0).converged.all())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda C: partial_plan(C), "mass to move is missing; expected a positive number, such as mass=0.3"),
        (lambda C: partial_plan(C, mass=30), "asked to move a mass of 30"),
        (lambda C: partial_plan(C, mass=0.3, allowed=C[:2] > 0), r"needs a mask like it, got \(2, 4\)"),
        (lambda C: partial_plan(C[0], mass=0.3), r"shape \(4,\); expected a matrix"),
        (
            lambda C: partial_plan(C, torch.tensor(1.0), mass=0.3),
            r"needs 3 row and 4 column weights, got \(\)",
        ),
        (lambda C: partial_plan(C, 0.3), r"row_weights is float 0.3; expected a tensor"),
        (lambda C: balanced_plan(C, tolerance=0), "positive"),
    ],
)
def test_mistakes_of_the_short_call(call, message):
    with pytest.raises((ValueError, InfeasibleTransportError), match=message):
        call(torch.rand(3, 4))
