"""Rematching: what is allowed, what is moved, and how a plan becomes targets."""

import math

import pytest
import torch

from robustcmr.correction import allowed_cells, rematch, rematch_targets
from robustcmr.correction.rematching import movable_mass
from robustcmr.errors import TrainingDivergedError
from robustcmr.transport import exact_plan, feasible_mass


def random_cost(n, m, seed=0):
    return torch.rand(n, m, generator=torch.Generator().manual_seed(seed))


def random_mask(n, m, share, seed=0):
    return torch.rand(n, m, generator=torch.Generator().manual_seed(seed)) < share


def off_diagonal(n):
    return ~torch.eye(n, dtype=torch.bool)


def test_allowed_cells_by_loops():
    image = torch.tensor([0, 0, 1, 2, 2, 2])
    rows, columns = torch.tensor([10, 11, 12, 13, 14, 15]), torch.tensor([12, 13, 20, 11])
    image_of_column = torch.tensor([1, 2, 2, 0])
    same = image[:, None] == image_of_column[None, :]
    by_all, by_pair = allowed_cells(rows, columns, same), allowed_cells(rows, columns)
    for i in range(6):
        for j in range(4):
            is_pair = bool(rows[i] == columns[j])
            shared = bool(image[i] == image_of_column[j])
            assert by_pair[i, j] == (not is_pair)
            assert by_all[i, j] == (not is_pair and not shared)


def test_allowed_cells_refuse_other_shapes():
    rows, columns = torch.arange(3), torch.arange(2)
    with pytest.raises(ValueError, match=r"same_image must be \(3, 2\), rows by columns, got \(3, 3\)"):
        allowed_cells(rows, columns, torch.zeros(3, 3, dtype=torch.bool))


@pytest.mark.parametrize("shape", [(2, 2), (2, 5), (7, 3), (20, 20)])
@pytest.mark.parametrize("mass", [0.1, 0.5])
def test_moves_the_mass_within_even_shares_where_allowed(shape, mass):
    allowed = torch.eye(*shape) == 0
    result = rematch(random_cost(*shape), allowed, mass, 0.05)
    assert float(result.mass) == pytest.approx(mass, rel=1e-4)
    assert (result.row_marginal <= 1.002 / shape[0]).all()
    assert (result.column_marginal <= 1.002 / shape[1]).all()
    assert (result.plan[~allowed] == 0).all()
    assert result.converged


def test_little_smoothing_comes_to_the_exact_plan():
    cost, allowed = random_cost(12, 9).double(), random_mask(12, 9, 0.8)
    result = rematch(cost, allowed, 0.3, 1e-3, tolerance=1e-6)
    exact = exact_plan(cost, torch.full((12,), 1 / 12), torch.full((9,), 1 / 9), mass=0.3, allowed=allowed)
    assert float((result.plan * cost).sum()) == pytest.approx(float((exact.plan * cost).sum()), rel=5e-3)


def test_a_cost_free_of_differences_spreads_evenly():
    result = rematch(torch.ones(4, 4), off_diagonal(4), 0.6, 0.1)
    torch.testing.assert_close(result.plan, off_diagonal(4) * 0.05)


def test_one_pair_alone_moves_nothing():
    result = rematch(torch.tensor([[0.3]]), off_diagonal(1))
    assert result.mass == 0
    assert result.converged
    targets = rematch_targets(result.plan, off_diagonal(1))
    for tensor in (targets.rows, targets.row_weights, targets.columns, targets.column_weights):
        assert (tensor == 0).all()


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0), (3, 4)])
def test_nothing_allowed_gives_a_plan_of_zeros(shape):
    result = rematch(torch.ones(shape, dtype=torch.float16), torch.zeros(shape, dtype=torch.bool))
    assert torch.equal(result.plan, torch.zeros(shape))
    assert result.row_marginal.shape == shape[:1]
    assert result.column_marginal.shape == shape[1:]
    assert (float(result.mass), result.iterations, bool(result.converged)) == (0.0, 0, True)


def test_a_single_allowed_cell_takes_what_it_can():
    allowed = torch.tensor([[False, True], [False, False]])
    result = rematch(random_cost(2, 2), allowed, 0.8)
    assert float(result.mass) == pytest.approx(0.99 * 0.5)
    assert float(result.plan[0, 1]) == pytest.approx(0.99 * 0.5)
    assert float(rematch(random_cost(2, 2), allowed, 0.3).mass) == pytest.approx(0.3)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("mass", [0.1, 0.6, 1.0])
def test_scales_down_to_what_the_mask_lets_pass(seed, mass):
    n, m = 2 + seed % 5, 2 + seed % 3
    allowed = random_mask(n, m, 0.35, seed)
    bound = float(feasible_mass(torch.full((n,), 1 / n), torch.full((m,), 1 / m), allowed))
    moved = movable_mass(allowed, mass)
    if mass < 0.98 * bound:
        assert moved == mass
    else:
        assert 0.98 * min(bound, mass) <= moved <= min(mass, bound + 1e-6)
    result = rematch(random_cost(n, m, seed), allowed, mass, 0.05)
    assert float(result.mass) == pytest.approx(moved, rel=1e-3, abs=1e-6)
    assert (result.row_marginal <= 1.003 / n).all()
    assert (result.column_marginal <= 1.003 / m).all()


@pytest.mark.parametrize("n", [2, 3, 128])
def test_a_batch_without_its_own_cells_can_move_everything(n):
    assert movable_mass(off_diagonal(n), 1.0) == 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_costs_are_widened_even_under_autocast(dtype):
    cost, allowed = random_cost(16, 16).to(dtype).requires_grad_(), off_diagonal(16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = rematch(cost, allowed, 0.1, 0.02)
    assert result.plan.dtype == torch.float32
    assert not result.plan.requires_grad
    torch.testing.assert_close(result.plan, rematch(cost.detach().float(), allowed, 0.1, 0.02).plan)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30, -1e30])
def test_diverged_costs_are_named_and_forbidden_ones_do_not_matter(bad):
    cost, allowed = random_cost(4, 4), off_diagonal(4)
    cost[2, 2] = bad
    assert rematch(cost, allowed).converged
    cost[2, 1] = bad
    with pytest.raises(TrainingDivergedError, match="a cost of rematching is NaN, infinite or above 5e"):
        rematch(cost, allowed)


def test_refuses_what_does_not_fit():
    for mass in (0.0, -0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match="mass to rematch must be above 0 and at most 1"):
            rematch(random_cost(3, 3), None, mass)
    with pytest.raises(
        ValueError,
        match=r"allowed must be bool of shape \(3, 3\) like the scores, got torch.bool of shape \(3, 2",
    ):
        rematch(random_cost(3, 3), torch.ones(3, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"expected a matrix \(n, m\), got \(3,\)"):
        rematch(torch.zeros(3))
    with pytest.raises(ValueError, match="floor must be positive, got 0"):
        rematch_targets(torch.zeros(2, 2), floor=0.0)


def test_targets_by_hand():
    """Image 0 moves its half, image 1 a fifth of its half; caption 1 takes part of both."""
    plan = torch.tensor([[0.3, 0.2, 0.0], [0.0, 0.1, 0.0]])
    targets = rematch_targets(plan)
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(targets.rows, torch.tensor([[0.6, 0.4, 0.0], [0.0, 1.0, 0.0]]), **close)
    torch.testing.assert_close(targets.row_weights, torch.tensor([1.0, 0.2]), **close)
    columns = torch.tensor([[1.0, 0.0], [2 / 3, 1 / 3], [0.5, 0.5]])
    torch.testing.assert_close(targets.columns, columns, **close)
    torch.testing.assert_close(targets.column_weights, torch.tensor([0.9, 0.9, 0.0]), **close)


def test_a_row_that_moved_nothing_is_uniform_and_counts_for_nothing():
    plan = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])
    allowed = torch.tensor([[True, True, True], [True, False, True]])
    targets = rematch_targets(plan, allowed)
    torch.testing.assert_close(targets.rows[1], torch.tensor([0.5, 0.0, 0.5]))
    assert targets.row_weights.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("mass", [0.1, 0.3])
def test_the_exact_solver_is_the_plan_of_pot_and_of_a_small_epsilon(mass):
    cost, allowed = random_cost(8, 6), torch.eye(8, 6) == 0
    exact = rematch(cost, allowed, mass, solver="exact")
    even = torch.full((8,), 1 / 8), torch.full((6,), 1 / 6)
    assert torch.equal(exact.plan, exact_plan(cost, *even, mass=mass, allowed=allowed).plan)
    smooth = rematch(cost, allowed, mass, 1e-3, tolerance=1e-5)
    torch.testing.assert_close(smooth.plan, exact.plan, atol=2e-3, rtol=0)


@pytest.mark.parametrize("epsilon", [0.005, 0.07])
def test_targets_are_distributions_over_allowed_cells(epsilon):
    allowed = off_diagonal(20)
    allowed[3] = False
    plan = rematch(random_cost(20, 20), allowed, 0.1, epsilon).plan
    targets = rematch_targets(plan, allowed)
    assert (targets.rows[~allowed] == 0).all()
    assert (targets.columns.T[~allowed] == 0).all()
    torch.testing.assert_close(targets.rows.sum(1), (torch.arange(20) != 3).float())
    torch.testing.assert_close(targets.columns.sum(1), torch.ones(20))
    for weights in (targets.row_weights, targets.column_weights):
        assert ((weights >= 0) & (weights <= 1)).all()
    assert float(targets.row_weights.sum()) == pytest.approx(2.0, rel=1e-3)
    assert float(targets.column_weights.sum()) == pytest.approx(2.0, rel=1e-3)
