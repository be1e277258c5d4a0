"""Costs and weights of very different size: each plan is right to what its arithmetic allows, or refused."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from robustcmr.errors import InfeasibleTransportError
from robustcmr.transport import (
    balanced_plan,
    exact_plan,
    feasible_mass,
    pair_scores,
    partial_plan,
    sinkhorn_plan,
    sparse_feasible_mass,
    sparse_partial_plan,
    unbalanced_plan,
)

N = 4
EVEN = np.full(N, 1 / N)
BASE = np.random.default_rng(0).random((N, N))
DIAGONAL = np.eye(N, dtype=bool)
OFF_DIAGONAL = ~DIAGONAL
TINY_ROW = np.array([1e-12, 0.4, 0.3, 0.3 - 1e-12])
WILD_ROWS, WILD_COLUMNS = np.array([1e12, 0.3, 1e-6, 0.2]), np.array([0.3, 1e9, 0.2, 1e-12])


def one(cost, place=(0, 2), base=BASE):
    changed = base.copy()
    changed[place] = cost
    return changed


def least_cost(C, r, c, mass, allowed):
    """The least cost of a plan by shortest paths in rational numbers, exact for all magnitudes."""
    n, m = len(r), len(c)
    left, room = [Fraction(x) for x in r], [Fraction(x) for x in c]
    if mass is None:
        room = [x * sum(left) / sum(room) for x in room]
    rest = sum(left) if mass is None else Fraction(mass)
    cells = {(i, j): Fraction(C[i, j]) for i in range(n) for j in range(m) if allowed[i, j]}
    flow = dict.fromkeys(cells, Fraction(0))
    while rest > 0:
        by_row, by_column, back, forth = {i: 0 for i in range(n) if left[i] > 0}, {}, {}, {}
        changed = True
        while changed:  # Bellman and Ford
            changed = False
            for (i, j), cost in cells.items():
                if i in by_row and (j not in by_column or by_row[i] + cost < by_column[j]):
                    by_column[j], forth[j], changed = by_row[i] + cost, i, True
                if j in by_column and flow[i, j] > 0 and by_column[j] - cost < by_row.get(i, 10**400):
                    by_row[i], back[i], changed = by_column[j] - cost, j, True
        j = min((j for j in by_column if room[j] > 0), key=by_column.get)
        last, path = j, [(forth[j], j, 1)]
        while path[-1][0] in back:
            i, j = path[-1][0], back[path[-1][0]]
            path += [(i, j, -1), (forth[j], j, 1)]
        first = path[-1][0]
        step = min([rest, room[last], left[first], *(flow[i, j] for i, j, sign in path if sign < 0)])
        for i, j, sign in path:
            flow[i, j] += sign * step
        left[first], room[last], rest = left[first] - step, room[last] - step, rest - step
    return sum(cells[cell] * flow[cell] for cell in cells)


EVERYWHERE = np.ones((N, N), bool)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mass", [None, 0.4])
def test_the_rational_reference_agrees_with_a_linear_program(seed, mass):
    rng = np.random.default_rng(seed)
    C, r, c = rng.random((N, N)), rng.random(N), rng.random(N)
    r, c = r / r.sum(), c / c.sum()
    sums = np.concatenate([np.kron(np.eye(N), np.ones(N)), np.kron(np.ones(N), np.eye(N))])
    weights, tight = np.concatenate([r, c]), {"primal_feasibility_tolerance": 1e-10}
    if mass is None:
        found = linprog(C.flatten(), A_eq=sums, b_eq=weights, method="highs", options=tight)
    else:
        total = np.ones((1, N * N)), [mass]
        found = linprog(C.flatten(), sums, weights, *total, method="highs", options=tight)
    assert float(least_cost(C, r, c, mass, EVERYWHERE)) == pytest.approx(found.fun, abs=1e-8)


RIGHT = {
    "one of 1e16": (one(1e16), EVEN, EVEN, EVERYWHERE),
    "one of 1e28": (one(1e28), EVEN, EVEN, EVERYWHERE),
    "one of 1e-300": (one(1e-300), EVEN, EVEN, EVERYWHERE),
    "all denormal": (BASE * 1e-310, EVEN, EVEN, EVERYWHERE),
    "all equal": (np.ones((N, N)), EVEN, EVEN, EVERYWHERE),
    "all negative": (BASE - 2, EVEN, EVEN, EVERYWHERE),
    "one of -1e16": (one(-1e16), EVEN, EVEN, EVERYWHERE),
    "forbidden inf": (np.where(DIAGONAL, np.inf, BASE), EVEN, EVEN, OFF_DIAGONAL),
    "forbidden nan": (np.where(DIAGONAL, np.nan, BASE), EVEN, EVEN, OFF_DIAGONAL),
    "forbidden -1e30": (np.where(DIAGONAL, -1e30, BASE), EVEN, EVEN, OFF_DIAGONAL),
    "forbidden -1e300": (np.where(DIAGONAL, -1e300, BASE), EVEN, EVEN, OFF_DIAGONAL),
    "tiny weight": (BASE, TINY_ROW, EVEN, EVERYWHERE),
    "wild weights": (BASE, WILD_ROWS, WILD_COLUMNS, EVERYWHERE),
    "wilder weights": (BASE, WILD_ROWS * [1e8, 1, 1, 1], WILD_COLUMNS, EVERYWHERE),
    "weights of 1e20": (BASE, BASE[0] * 1e20, BASE[0, ::-1] * 1e20, EVERYWHERE),
    "weights of 1e-20": (BASE, EVEN * 1e-20, EVEN * 1e-20, EVERYWHERE),
}


@pytest.mark.parametrize("mass", [None, 0.5, 1e-12, 1e-25])
@pytest.mark.parametrize("name", RIGHT)
def test_exact_plans_are_of_least_cost(name, mass):
    C, r, c, allowed = RIGHT[name]
    if (mass is not None and mass > r.sum()) or (mass is None and name.startswith("wil")):
        return
    given = (torch.from_numpy(x) for x in (C, r, c))
    found = exact_plan(*given, mass=mass, allowed=torch.from_numpy(allowed))
    P = found.plan.numpy().astype(np.longdouble)
    assert bool(found.converged)
    assert (P[~allowed] == 0).all()
    goal = r.sum() if mass is None else mass
    assert float(P.sum()) == pytest.approx(goal, rel=1e-12)
    assert (P.sum(1) <= r + 1e-14 * goal).all()
    assert (P.sum(0) <= c + 1e-14 * goal).all()
    total = float((np.where(P > 0, C, 0.0) * P).sum())
    assert total == pytest.approx(float(least_cost(C, r, c, mass, allowed)), rel=1e-9, abs=5e-324)


@pytest.mark.parametrize("cost", [1e16, -1e16, 1e12])
def test_an_exact_plan_whose_total_rounding_would_blur_is_refused(cost):
    """A row of next to no weight must pay so much that the total says nothing of the other rows."""
    given = [torch.from_numpy(x) for x in (np.vstack([cost + BASE[:1], BASE[1:]]), TINY_ROW, EVEN)]
    with pytest.raises(InfeasibleTransportError, match="for so little mass that the others are lost beside"):
        exact_plan(*given)
    if cost > 0:  # that row can stay behind
        found = exact_plan(*given, mass=0.5).plan.numpy()
        want = float(least_cost(given[0].numpy(), TINY_ROW, EVEN, 0.5, EVERYWHERE))
        assert float((given[0].numpy() * found).sum()) == pytest.approx(want, rel=1e-9)


def sparse(C, r, c, allowed, **options):
    """The sparse plan of the allowed cells, as a matrix."""
    i, j = allowed.nonzero().T
    mass = 0.5 * float(min(r.sum(), c.sum()))
    found = sparse_partial_plan(i, j, C[i, j], r, c, mass, **options)
    assert bool(found.converged)
    assert float(found.plan.sum()) == pytest.approx(float(found.mass), rel=1e-5)
    plan = torch.zeros_like(C)
    plan[i, j] = found.plan
    return plan


def partial(C, r, c, allowed, **options):
    return partial_plan(C, r, c, 0.5 * float(min(r.sum(), c.sum())), allowed=allowed, **options).plan


def balanced(C, r, c, allowed, **options):
    return balanced_plan(C, r, c, mask=allowed, **options).plan


def unbalanced(C, r, c, allowed, **options):
    return unbalanced_plan(C, r, c, mask=allowed, penalty=1.0, **options).plan


SOLVERS = [partial, balanced, unbalanced, sparse]


def solved(solver, C, r=EVEN, c=EVEN, allowed=EVERYWHERE, dtype=torch.float64, **options):
    given = (torch.from_numpy(np.asarray(x)).to(dtype) for x in (C, r, c))
    return solver(*given, torch.from_numpy(allowed), epsilon=0.05, **options).double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_cell_that_costs_much_is_as_good_as_forbidden(solver, dtype):
    allowed = EVERYWHERE.copy()
    allowed[0, 2] = False
    want = solved(solver, BASE, allowed=allowed, dtype=dtype)
    for cost in (1e6, 1e16, 1e29):
        torch.testing.assert_close(solved(solver, one(cost), dtype=dtype), want, atol=3e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("cost", [np.inf, np.nan, -1e29, -1e30, -1e37, 1e37])
def test_what_a_forbidden_cell_costs_does_not_matter(solver, dtype, cost):
    """A mask that is added to a cost of -1e30 lets all mass pass."""
    allowed = EVERYWHERE.copy()
    allowed[0, 2] = False
    want = solved(solver, BASE, allowed=allowed, dtype=dtype)
    found = solved(solver, one(cost), allowed=allowed, dtype=dtype)
    assert found[0, 2] == 0
    torch.testing.assert_close(found, want, atol=1e-7, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cost", [np.inf, -np.inf, np.nan, 1e30, -1e30])
def test_a_cost_that_is_no_number_is_refused_where_mass_may_pass(dtype, cost):
    for solver in SOLVERS:
        with pytest.raises(ValueError, match="must be finite and below 5e\\+29 in size"):
            solved(solver, one(cost), dtype=dtype)
    given = (torch.from_numpy(x).to(dtype) for x in (one(cost), EVEN, EVEN))
    with pytest.raises(
        ValueError, match="must be finite and below 5e\\+29 in size where mass is allowed; forb"
    ):
        exact_plan(*given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("solver", [balanced, unbalanced, sparse])
def test_costs_that_the_type_cannot_tell_apart_are_refused(solver, dtype):
    """The cell must be used, and all other costs are rounded away beside its own."""
    with pytest.raises(InfeasibleTransportError, match="mass must pass at costs as far apart as"):
        solved(solver, one(-1e16), dtype=dtype, max_iterations=500)


def test_a_partial_plan_never_leaves_so_cheap_a_cell(caplog):
    """It would need as many iterations as the cost has epsilons, and says that it does not converge."""
    given = (torch.from_numpy(x) for x in (one(-1e18), EVEN, EVEN))
    assert not bool(partial_plan(*given, 0.5, epsilon=0.05, max_iterations=50).converged)
    assert "did not converge" in caplog.text


@pytest.mark.parametrize("cost", [-1e12, -1e13])
def test_the_factors_of_a_sparse_plan_are_not_lost_in_its_logarithms(cost):
    """Logarithms of 1e13 are rounded by 2e-3, which the sum of the plan must not show."""
    plan = solved(sparse, one(cost))  # which compares that sum with the mass
    assert float(plan[0, 2]) == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e20])
@pytest.mark.parametrize("solver", [partial, balanced, sparse])
def test_plans_grow_with_their_weights(solver, scale):
    want, found = solved(solver, BASE), solved(solver, BASE, EVEN * scale, EVEN * scale)
    torch.testing.assert_close(found / scale, want, atol=3e-6, rtol=0)


def test_weights_that_are_next_to_nothing_are_refused():
    for dtype, scale in ((torch.float32, 1e-36), (torch.float64, 1e-40)):
        for solver in (partial, balanced, unbalanced):
            with pytest.raises(
                InfeasibleTransportError, match=r"weights sum to 1e-.*; expected a finite sum of"
            ):
                solved(solver, BASE, EVEN * scale, EVEN * scale, dtype=dtype)
    with pytest.raises(InfeasibleTransportError, match="weights sum to"):
        solved(partial, BASE, EVEN * 8e38, EVEN * 8e38, dtype=torch.float32)


@pytest.mark.parametrize("cost", [-60.0, -10.0, -3.0, 0.0, 3.5, 5.0, 50.0])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_an_unbalanced_plan_of_one_cell_has_a_closed_form(cost, epsilon):
    """epsilon log(p / rc) + rho log(p / r) + rho log(p / c) = -cost at the least."""
    r, c, rho = 0.3, 0.7, 1.0
    given = [torch.tensor(x, dtype=torch.float64) for x in ([[cost]], [r], [c])]
    found = unbalanced_plan(*given, epsilon=epsilon, penalty=rho)
    assert bool(found.converged)
    log_p = (-cost + (epsilon + rho) * np.log(r * c)) / (epsilon + 2 * rho)
    assert float(found.plan.log()) == pytest.approx(log_p, abs=1e-6)


@pytest.mark.parametrize("cost", [-1e4, -100.0, 200.0, 1e4])
def test_an_unbalanced_plan_out_of_range_says_so(cost, caplog):
    """One of two problems would move more than exp(40) times its weights, or less than exp(-40) times."""
    C = torch.tensor([[[cost]], [[1.0]]], dtype=torch.float64)
    half = torch.tensor([0.5], dtype=torch.float64)
    found = unbalanced_plan(C, half, half, epsilon=0.05, penalty=1.0, max_iterations=100)
    assert found.converged.tolist() == [False, True]
    assert found.marginal_error[0] == np.inf
    assert "1 of 2 transport problems did not converge" in caplog.text


WEIGHTS = [
    ([1e20, 0.5, 0.5], [0.5, 0.5, 0.0]),
    ([1e12, 1e-6, 1e-12], [1e-12, 0.4, 1e9]),
    ([1e-20, 2e-20, 3e-20], [3e-20, 1e-20, 2e-20]),
    ([1.1e20, 2.3e20, 3.7e20], [3.1e20, 1.3e20, 2.9e20]),
    ([1.0, 1e-9, 0.5], [1e-9, 1e-12, 1.0]),
]


@pytest.mark.parametrize(("r", "c"), WEIGHTS)
@pytest.mark.parametrize("seed", range(4))
def test_the_most_mass_of_weights_of_any_size(r, c, seed):
    allowed = np.random.default_rng(seed).random((3, 3)) < 0.6
    # by the cut of least capacity, over all sets of rows and columns on the side of the source
    sets = [np.array([x >> k & 1 for k in range(3)], bool) for x in range(8)]
    r, c = np.array(r), np.array(c)
    want = min(
        r[~rows].sum() + c[columns].sum()
        for rows in sets
        for columns in sets
        if not (allowed & rows[:, None] & ~columns[None, :]).any()
    )
    given = torch.from_numpy(r), torch.from_numpy(c)
    assert float(feasible_mass(*given, torch.from_numpy(allowed))) == pytest.approx(want, rel=1e-12)
    edges = torch.from_numpy(allowed).nonzero().T
    lesser = min(r.sum(), c.sum())
    assert sparse_feasible_mass(*edges, *given) == pytest.approx(want, abs=6 * 2**-30 * lesser)


def fragment_sets(least, dtype=torch.float32):
    """Three sets and four, each with one fragment of this weight before weights are scaled to sum 1."""
    draw = torch.Generator().manual_seed(0)
    sides = [torch.randn(size, generator=draw, dtype=torch.float64) for size in ((3, 5, 8), (4, 6, 8))]
    weights = [torch.rand(x.shape[:2], generator=draw, dtype=torch.float64) + 0.1 for x in sides]
    for w in weights:
        w[:, 0] = least
    given = [x / x.norm(dim=-1, keepdim=True) for x in sides] + [w / w.sum(1, keepdim=True) for w in weights]
    return [x.to(dtype).requires_grad_() for x in given]


def scores_by_logarithms(left, right, a, b, smoothing, iterations):
    """One pair after the other, in the log domain and float64."""
    left, right, a, b = (x.detach().double() for x in (left, right, a, b))
    S = torch.einsum("ird,jwd->ijrw", left, right)
    sides = a[:, None].expand(-1, len(b), -1), b.expand(len(a), -1, -1)
    return (S * sinkhorn_plan(S, *sides, smoothing=smoothing, iterations=iterations)).sum((-2, -1))


@pytest.mark.slow
@pytest.mark.parametrize("least", [0.1, 1e-12, 1e-30])
@pytest.mark.parametrize(("smoothing", "iterations"), [(0.05, 200), (0.01, 3), (0.01, 20), (0.003, 10)])
def test_scores_of_little_smoothing_and_many_iterations(least, smoothing, iterations):
    """A kernel in float32 that ends at exp(-87) lets mass pass where there is none, or gives NaN."""
    given = fragment_sets(least)
    scores = pair_scores(*given, smoothing=smoothing, iterations=iterations)
    assert scores.dtype == torch.float32
    want = scores_by_logarithms(*given, smoothing, iterations)
    bound = 40 * torch.finfo(torch.float32).eps * (1 + 1 / smoothing)
    torch.testing.assert_close(scores.double(), want, atol=bound, rtol=0)
    scores.sum().backward()
    assert all(bool(x.grad.isfinite().all()) for x in given)


@pytest.mark.parametrize("backend", ["auto", "tensors"])
def test_weights_below_the_normal_numbers_count_as_none(backend):
    """One over such a weight is infinite, and was a gradient of NaN for all fragments."""
    given = fragment_sets(1e-40)
    scores = pair_scores(*given, smoothing=0.05, iterations=3, backend=backend)
    scores.sum().backward()
    without = [x.detach()[:, 1:] for x in given]
    torch.testing.assert_close(scores, pair_scores(*without, smoothing=0.05, iterations=3), atol=1e-6, rtol=0)
    for x in given:
        assert bool(x.grad.isfinite().all())
        assert not bool(x.grad[:, 0].any())


@pytest.mark.parametrize(
    ("dtype", "backend", "smoothing", "iterations", "answer"),
    [
        (
            torch.float32,
            "auto",
            1e-4,
            1000,
            "smoothing=0.0001 with iterations=1000 leaves the range of float64",
        ),
        (torch.float64, "auto", 1e-4, 1000, "leaves the range of float64; expected backend='auto' and more"),
        (torch.float32, "numba", 0.01, 100, "leaves the range of backend='numba'; expected backend='auto'"),
        (
            torch.float32,
            "auto",
            0.0,
            3,
            "smoothing must be positive and iterations at least 1, got 0.0 and 3",
        ),
        (torch.float32, "auto", float("nan"), 3, "smoothing must be positive"),
        (torch.float32, "auto", 0.05, 0, "iterations at least 1"),
    ],
)
def test_scores_out_of_range_are_refused(dtype, backend, smoothing, iterations, answer):
    given = fragment_sets(0.1, dtype)
    with pytest.raises(ValueError, match=answer):
        pair_scores(*given, smoothing=smoothing, iterations=iterations, backend=backend)


@pytest.mark.parametrize("smoothing", [0.0, -1.0, float("nan"), float("inf")])
def test_a_plan_needs_smoothing(smoothing):
    with pytest.raises(ValueError, match="smoothing must be positive"):
        sinkhorn_plan(torch.eye(2), torch.ones(2), torch.ones(2), smoothing=smoothing, iterations=3)
