"""Sparse partial plans against dense ones with the complement forbidden, exact ones, and symmetries."""

import logging
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st

from robustcmr.errors import InfeasibleTransportError
from robustcmr.transport import exact_plan, feasible_mass, partial_plan
from robustcmr.transport.sparse_graph import Graph, Product, _torch_matrix, sparse_feasible_mass
from robustcmr.transport.sparse_partial import sparse_partial_plan

TIGHT = {"tolerance": 1e-11, "max_iterations": 200_000}


def problem(n=14, m=17, density=0.35, seed=0, dtype=torch.float64):
    """Costs, a mask with an empty row and an empty column, and weights some of which are zero."""
    generator = torch.Generator().manual_seed(seed)
    C = torch.rand(n, m, generator=generator, dtype=torch.float64)
    allowed = torch.rand(n, m, generator=generator) < density
    r = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    c = torch.rand(m, generator=generator, dtype=torch.float64) + 0.1
    r[1], c[2] = 0.0, 0.0
    allowed[3], allowed[:, 4] = False, False
    return C.to(dtype), allowed, (r / r.sum()).to(dtype), (c / c.sum()).to(dtype)


def sparse(C, allowed, r, c, mass, **options):
    i, j = allowed.nonzero().T
    return sparse_partial_plan(i, j, C[i, j], r, c, mass, **options)


def spread(plan, allowed):
    """A sparse plan as a matrix."""
    P = torch.zeros(allowed.shape, dtype=plan.log_plan.dtype)
    P[allowed] = plan.plan
    return P


@pytest.mark.parametrize("epsilon", [0.3, 0.05, 0.01])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agrees_with_the_dense_plan(epsilon, seed):
    C, allowed, r, c = problem(seed=seed)
    mass = 0.8 * float(feasible_mass(r, c, allowed))
    dense = partial_plan(C, r, c, mass, epsilon=epsilon, allowed=allowed, tolerance=1e-11)
    plan = sparse(C, allowed, r, c, mass, epsilon=epsilon, **TIGHT)
    assert bool(plan.converged)
    assert float(plan.marginal_error) <= 1e-11
    assert (spread(plan, allowed) - dense.plan).abs().max() < 1e-10
    assert (plan.row_marginal - dense.row_marginal).abs().max() < 1e-10
    assert (plan.column_marginal - dense.column_marginal).abs().max() < 1e-10
    assert float(plan.mass) == pytest.approx(mass, rel=1e-10)


@pytest.mark.parametrize("epsilon", [0.1, 0.02])
def test_agrees_with_the_dense_plan_in_float32(epsilon):
    C, allowed, r, c = problem(n=40, m=30, dtype=torch.float32)
    dense = partial_plan(
        C.double(), r.double(), c.double(), 0.5, epsilon=epsilon, allowed=allowed, tolerance=1e-11
    )
    plan = sparse(C, allowed, r, c, 0.5, epsilon=epsilon, tolerance=1e-6)
    assert plan.plan.dtype == torch.float32
    assert bool(plan.converged)
    assert (spread(plan, allowed) - dense.plan).abs().max() < 1e-5


def test_all_cells_as_edges_is_the_plain_problem():
    C, _, r, c = problem()
    everywhere = torch.ones_like(C, dtype=torch.bool)
    dense = partial_plan(C, r, c, 0.7, epsilon=0.05, tolerance=1e-11)
    plan = sparse(C, everywhere, r, c, 0.7, epsilon=0.05, **TIGHT)
    assert (spread(plan, everywhere) - dense.plan).abs().max() < 1e-10


@pytest.mark.parametrize("seed", range(4))
def test_approaches_the_exact_plan(seed):
    C, allowed, r, c = problem(n=7, m=6, density=0.6, seed=seed)
    mass = 0.7 * float(feasible_mass(r, c, allowed))
    least = float((exact_plan(C, r, c, mass=mass, allowed=allowed).plan * C).sum())
    gaps = []
    for epsilon in (0.05, 0.01, 0.002):
        plan = sparse(C, allowed, r, c, mass, epsilon=epsilon, tolerance=1e-9, max_iterations=200_000)
        assert bool(plan.converged)
        gaps.append(float((spread(plan, allowed) * C).sum()) - least)
    assert -1e-7 < gaps[2] < gaps[1] + 1e-7 < gaps[0] + 2e-7
    assert gaps[2] < 2e-4


def test_order_of_edges_rows_and_columns_does_not_matter():
    C, allowed, r, c = problem()
    i, j = allowed.nonzero().T
    plan = sparse_partial_plan(i, j, C[i, j], r, c, 0.5, epsilon=0.05, **TIGHT)
    order = torch.randperm(len(i), generator=torch.Generator().manual_seed(1))
    shuffled = sparse_partial_plan(i[order], j[order], C[i, j][order], r, c, 0.5, epsilon=0.05, **TIGHT)
    assert torch.allclose(shuffled.log_plan, plan.log_plan[order], atol=1e-9)
    p = torch.randperm(len(r), generator=torch.Generator().manual_seed(2))
    q = torch.randperm(len(c), generator=torch.Generator().manual_seed(3))
    moved = sparse_partial_plan(p[i], q[j], C[i, j], _at(r, p), _at(c, q), 0.5, epsilon=0.05, **TIGHT)
    assert torch.allclose(moved.log_plan, plan.log_plan, atol=1e-9)
    assert torch.allclose(moved.row_marginal[p], plan.row_marginal, atol=1e-12)
    assert torch.allclose(moved.column_marginal[q], plan.column_marginal, atol=1e-12)


def _at(x, places):
    moved = torch.empty_like(x)
    moved[places] = x
    return moved


def test_rows_and_columns_may_be_exchanged():
    C, allowed, r, c = problem()
    i, j = allowed.nonzero().T
    plan = sparse_partial_plan(i, j, C[i, j], r, c, 0.5, epsilon=0.05, **TIGHT)
    other = sparse_partial_plan(j, i, C[i, j], c, r, 0.5, epsilon=0.05, **TIGHT)
    assert torch.allclose(other.log_plan, plan.log_plan, atol=1e-9)


def test_empty_rows_and_atoms_without_weight_carry_nothing():
    C, allowed, r, c = problem()
    i, j = allowed.nonzero().T
    plan = sparse(C, allowed, r, c, 0.5, epsilon=0.05, tolerance=1e-9)
    nothing = (i == 1) | (j == 2)
    assert nothing.any()
    assert (plan.log_plan[nothing] == -math.inf).all()
    assert plan.log_plan[~nothing].isfinite().all()
    assert plan.row_marginal[[1, 3]].abs().max() == 0
    assert plan.column_marginal[[2, 4]].abs().max() == 0


def test_a_single_edge_carries_the_mass():
    one = torch.tensor([0])
    plan = sparse_partial_plan(
        one, one, torch.tensor([7.0]), torch.tensor([0.5]), torch.tensor([1.0]), 0.3, epsilon=0.01
    )
    assert float(plan.plan) == pytest.approx(0.3, rel=1e-5)
    assert float(plan.mass) == pytest.approx(0.3, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_costs_far_apart_stay_in_range(dtype):
    """Rows whose costs are thousands of epsilons apart, all of which are needed for the mass."""
    generator = torch.Generator().manual_seed(0)
    C = torch.rand(6, 6, generator=generator, dtype=torch.float64) + torch.arange(6).unsqueeze(1).double()
    allowed = torch.rand(6, 6, generator=generator) < 0.8
    w = torch.full((6,), 1 / 6, dtype=torch.float64)
    mass = 0.95 * float(feasible_mass(w, w, allowed))
    dense = partial_plan(C, w, w, mass, epsilon=0.01, allowed=allowed, tolerance=1e-10)
    plan = sparse(
        C.to(dtype),
        allowed,
        w.to(dtype),
        w.to(dtype),
        mass,
        epsilon=0.01,
        tolerance=1e-6,
        max_iterations=50_000,
    )
    assert bool(plan.converged)
    assert plan.log_plan.isfinite().all()
    assert (spread(plan, allowed).double() - dense.plan).abs().max() < 1e-4


@settings(deadline=None, max_examples=25)
@given(
    st.integers(2, 9), st.integers(2, 9), st.floats(0.2, 1.0), st.floats(0.05, 0.9), st.integers(0, 10_000)
)
def test_any_plan_keeps_its_marginals_and_mass(n, m, density, part, seed):
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.rand(n, m, generator=generator) < density
    assume(allowed.any())
    r, c = (torch.rand(k, generator=generator, dtype=torch.float64) + 0.05 for k in (n, m))
    C = torch.rand(n, m, generator=generator, dtype=torch.float64)
    mass = part * float(feasible_mass(r, c, allowed))
    plan = sparse(C, allowed, r, c, mass, epsilon=0.1, tolerance=1e-8, max_iterations=100_000)
    P = spread(plan, allowed)
    assert bool(plan.converged)
    assert ((P.sum(1) - r) < 1e-7 * mass).all()
    assert ((P.sum(0) - c) < 1e-7 * mass).all()
    assert float(P.sum()) == pytest.approx(mass, rel=1e-7)
    dense = partial_plan(C, r, c, mass, epsilon=0.1, allowed=allowed, tolerance=1e-9)
    assert (P - dense.plan).abs().max() < 1e-5 * mass


@pytest.mark.parametrize("seed", range(5))
def test_feasible_mass_is_that_of_the_mask(seed):
    _, allowed, r, c = problem(density=0.12, seed=seed)
    i, j = allowed.nonzero().T
    expected = float(feasible_mass(r, c, allowed))
    assert expected < 0.95
    assert sparse_feasible_mass(i, j, r, c) == pytest.approx(expected, rel=1e-7)
    assert sparse_feasible_mass(i, j, 1000 * r, c) <= 1.0 + 1e-9


def test_feasible_mass_of_many_even_weights_is_exact():
    """Shares that are no whole number of units must not all be rounded the same way."""
    n = 30_000
    i = torch.arange(n)
    even = torch.full((n,), 1 / n, dtype=torch.float64)
    assert sparse_feasible_mass(i, i, even, even) == pytest.approx(1.0, abs=1e-8)
    assert sparse_feasible_mass(i, i // 2, even, even) == pytest.approx(0.5, abs=1e-8)


def test_infeasible_mass_is_refused_with_the_bound():
    C, allowed, r, c = problem(density=0.12)
    bound = float(feasible_mass(r, c, allowed))
    with pytest.raises(InfeasibleTransportError, match=rf"mass of 1, .* at most {bound:.6g} pass"):
        sparse(C, allowed, r, c, 1.0, epsilon=0.05)
    with pytest.raises(InfeasibleTransportError, match=f"at most {bound:.6g} pass"):
        sparse(C, allowed, r, c, 1.05 * bound, epsilon=0.05, max_iterations=500)
    assert bool(sparse(C, allowed, r, c, 0.9 * bound, epsilon=0.05).converged)


def test_a_mass_that_only_the_flow_refuses():
    """Each side alone passes the easy test: two rows share one column, and the third has two."""
    i, j = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 0, 1, 2])
    w = torch.full((3,), 1 / 3, dtype=torch.float64)
    with pytest.raises(InfeasibleTransportError, match=r"at most 0\.666667 pass"):
        sparse_partial_plan(i, j, torch.zeros(4).double(), w, w, 0.9, epsilon=0.1, max_iterations=200)


def test_rounding_above_a_side_is_cut_off():
    C, _, r, c = problem()
    everywhere = torch.ones_like(C, dtype=torch.bool)
    plan = sparse(C, everywhere, r, c, 1.0 + 2e-6, epsilon=0.1, tolerance=1e-9, max_iterations=100_000)
    assert float(plan.mass) == pytest.approx(1.0, rel=1e-8)
    with pytest.raises(InfeasibleTransportError, match=r"mass of 1\.001"):
        sparse(C, everywhere, r, c, 1.001, epsilon=0.1)


def test_nothing_to_carry_the_mass():
    w, none = torch.ones(2), torch.empty(0, dtype=torch.int64)
    with pytest.raises(InfeasibleTransportError, match="no edge"):
        sparse_partial_plan(none, none, torch.empty(0), w, w, 0.5, epsilon=0.1)
    with pytest.raises(InfeasibleTransportError, match="no edge"):
        sparse_partial_plan(
            torch.tensor([0]), torch.tensor([1]), torch.ones(1), torch.tensor([0.0, 1.0]), w, 0.5, epsilon=0.1
        )
    with pytest.raises(InfeasibleTransportError, match="all zero"):
        sparse_feasible_mass(none, none, w, 0 * w)


@pytest.mark.parametrize("epsilon", [0.005, 1e-6])  # none and many stages of larger epsilon before
def test_stopping_early_is_told(caplog, epsilon):
    C, allowed, r, c = problem()
    with caplog.at_level(logging.WARNING):
        plan = sparse(C, allowed, r, c, 0.8, epsilon=epsilon, tolerance=1e-12, max_iterations=3)
    assert not bool(plan.converged)
    assert plan.iterations == 3
    assert float(plan.marginal_error) > 1e-12
    assert "did not converge in 3 iterations" in caplog.text


def test_narrow_costs_are_widened():
    C, allowed, r, c = problem()
    plan = sparse(C.to(torch.bfloat16), allowed, r, c, 0.5, epsilon=0.1)
    assert plan.plan.dtype == torch.float32
    assert bool(plan.converged)
    assert not plan.log_plan.requires_grad


EDGE = {
    "rows": torch.tensor([0, 1]),
    "columns": torch.tensor([1, 0]),
    "cost": torch.ones(2),
    "row_weights": torch.ones(2),
    "column_weights": torch.ones(2),
    "mass": 0.5,
    "epsilon": 0.1,
}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rows": torch.tensor([0, 0]), "columns": torch.tensor([1, 1])}, "listed twice"),
        ({"rows": torch.tensor([0, 2])}, r"rows of edges must lie in 0\.\.1, got 0\.\.2"),
        ({"columns": torch.tensor([-1, 0])}, r"columns of edges must lie in 0\.\.1"),
        ({"rows": torch.tensor([0.0, 1.0])}, "whole numbers"),
        ({"columns": torch.tensor([1])}, "of one length"),
        ({"cost": torch.ones(3)}, "3 costs"),
        ({"cost": torch.ones(2, 1)}, "must be vectors"),
        ({"cost": torch.tensor([1.0, math.nan])}, "finite"),
        ({"row_weights": torch.tensor([1.0, -1.0])}, "not negative"),
        ({"column_weights": torch.tensor([1.0, math.inf])}, "finite"),
        ({"mass": 0.0}, "positive finite number, got 0"),
        ({"mass": math.nan}, "positive finite"),
        ({"epsilon": 0.0}, "epsilon and tolerance must be positive"),
        ({"max_iterations": 0}, "max_iterations at least 1"),
    ],
)
def test_bad_input_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        sparse_partial_plan(**{**EDGE, **wrong})


def test_products_from_both_sides_are_those_of_the_matrix():
    C, allowed, _, _ = problem()
    i, j = allowed.nonzero().T
    order = torch.randperm(len(i), generator=torch.Generator().manual_seed(0))
    graph = Graph.build(i[order], j[order], *C.shape)
    values = C[i, j][order][graph.kept]
    A = C * allowed
    x, y = torch.rand(C.shape[1]).double(), torch.rand(C.shape[0]).double()
    product = Product(graph, values)
    assert torch.allclose(product.rows(x), A @ x)
    assert torch.allclose(product.columns(y), A.T @ y)
    # what CUDA uses, on the CPU
    by_row = _torch_matrix(graph.row_starts, graph.column_of, values, tuple(C.shape))
    assert torch.allclose(by_row @ x, A @ x)
    assert np.array_equal(graph.row_of.numpy(), np.sort(graph.row_of.numpy()))
