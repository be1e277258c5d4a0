"""Partial plans scaled by the kernel against those of tensor operations in float64.

The kernel runs on a GPU where there is one, and in Triton's interpreter where a process was started for that,
as ``test_triton_support`` does.
"""

import logging
import os

import pytest
import torch

pytest.importorskip("triton")

from robustcmr.errors import InfeasibleTransportError
from robustcmr.transport import partial_plan, triton_partial
from robustcmr.transport.problems import Problem

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"

if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("no GPU, and not in Triton's interpreter", allow_module_level=True)


@pytest.fixture
def launches(monkeypatch):
    """How often the kernel ran; its failures are raised."""
    seen = []

    def attempt(function, kernel, *inputs):
        seen.append(tuple(kernel.values.shape))
        return function(kernel, *inputs)

    attempt.broken = False
    monkeypatch.setattr(triton_partial, "_attempt", attempt)
    return seen


def random_problem(*shape, seed=0, share=0.6):
    """Cost, weights with a row and a column of none, and mass, in float64."""
    generator = torch.Generator().manual_seed(seed)
    cost = torch.rand(*shape, dtype=torch.float64, generator=generator)
    rows = torch.rand(*shape[:-1], dtype=torch.float64, generator=generator) + 0.1
    columns = torch.rand(*shape[:-2], shape[-1], dtype=torch.float64, generator=generator) + 0.1
    if min(shape[-2:]) > 2:
        rows[..., 1], columns[..., -1] = 0.0, 0.0
    return cost, rows, columns, share * torch.minimum(rows.sum(-1), columns.sum(-1))


def by_tensors(monkeypatch, *problem, **options):
    """The plan in float64 by tensor operations."""
    with monkeypatch.context() as patch:
        patch.setattr(triton_partial, "available", lambda device: False)
        return partial_plan(*(x.double().cpu() for x in problem), **options)


def distance(found, expected):
    """Mass out of place, relative to that moved."""
    missed = (found.plan.cpu().double() - expected.plan).abs().sum((-1, -2))
    return (missed / expected.mass).max().item()


CASES = [
    ((2, 5, 7), torch.float64, 0.05, 1e-8),
    ((2, 5, 7), torch.float32, 0.02, 1e-5),
    ((6, 9), torch.float32, 0.1, 1e-5),
    ((2, 1, 1, 3), torch.float32, 0.1, 1e-5),
    ((1, 17, 4), torch.float64, 0.1, 1e-8),
]


@pytest.mark.parametrize("block", [None, 32])
@pytest.mark.parametrize(("shape", "dtype", "epsilon", "tolerance"), CASES)
def test_plans_equal_those_of_tensor_operations(
    launches, monkeypatch, shape, dtype, epsilon, tolerance, block
):
    if block is not None:  # rows in several blocks, so the kernel does not stay in registers
        monkeypatch.setattr(triton_partial, "_CELLS", {torch.float32: block, torch.float64: block})
    problem = random_problem(*shape)
    expected = by_tensors(monkeypatch, *problem, epsilon=epsilon, tolerance=1e-10)
    assert launches == []
    given = [x.to(dtype).to(DEVICE) for x in problem]
    found = partial_plan(*given, epsilon=epsilon, tolerance=tolerance)
    assert launches
    assert found.plan.dtype == dtype
    assert found.converged.all()
    assert (found.marginal_error <= tolerance).all()
    assert distance(found, expected) < 20 * tolerance
    assert (found.row_marginal.cpu() - expected.row_marginal).abs().max() < 20 * tolerance
    assert (found.column_marginal.cpu() - expected.column_marginal).abs().max() < 20 * tolerance


def test_renewed_kernels_and_newton_steps_between_launches(launches, monkeypatch):
    monkeypatch.setattr("robustcmr.transport.dense._SWEPT_PATIENCE", 8)
    cost, rows, columns, mass = random_problem(2, 5, 5, seed=3)
    expected = by_tensors(monkeypatch, cost, rows, columns, mass, epsilon=0.005, tolerance=1e-10)
    found = partial_plan(*(x.to(DEVICE) for x in (cost, rows, columns, mass)), epsilon=0.005, tolerance=1e-9)
    assert len(launches) > 2
    assert found.converged.all()
    assert distance(found, expected) < 1e-7


def test_a_mask(launches, monkeypatch):
    cost, rows, columns, mass = random_problem(2, 6, 4)
    allowed = torch.ones(2, 6, 4, dtype=torch.bool)
    allowed[:, 0, :2] = False
    options = {"epsilon": 0.05, "tolerance": 1e-8}
    expected = by_tensors(monkeypatch, cost, rows, columns, mass, allowed=allowed, **options)
    given = [x.to(DEVICE) for x in (cost, rows, columns, mass)]
    found = partial_plan(*given, allowed=allowed.to(DEVICE), **options)
    assert launches
    assert (found.plan[:, 0, :2] == 0).all()
    assert distance(found, expected) < 1e-6


def test_a_cost_of_turned_layout(launches, monkeypatch):
    cost, rows, columns, mass = random_problem(2, 6, 4)
    rows[:, 1], columns[:, -1] = 0.3, 0.3  # weights of zero would have the cost written anew
    expected = by_tensors(monkeypatch, cost, rows, columns, mass, epsilon=0.05, tolerance=1e-8)
    turned = cost.mT.contiguous().to(DEVICE).mT
    given = [x.to(DEVICE) for x in (rows, columns, mass)]
    found = partial_plan(turned, *given, epsilon=0.05, tolerance=1e-8)
    assert launches
    assert distance(found, expected) < 1e-6


def test_gradients_flow(launches, monkeypatch):
    def gradients(device):
        inputs = [x.to(device).requires_grad_() for x in random_problem(4, 5)]
        plan = partial_plan(*inputs, epsilon=0.1, tolerance=1e-9, differentiable=True).plan
        (plan * torch.linspace(-1, 1, 20, dtype=plan.dtype, device=device).view(4, 5)).sum().backward()
        return [x.grad.cpu() for x in inputs]

    found = gradients(DEVICE)
    assert launches
    monkeypatch.setattr(triton_partial, "available", lambda device: False)
    for one, other in zip(found, gradients("cpu"), strict=True):
        assert (one - other).abs().max() < 1e-6


def test_iterations_end_where_they_were_told_to(launches, caplog):
    problem = [x.to(DEVICE) for x in random_problem(5, 5)]
    with caplog.at_level(logging.WARNING):
        found = partial_plan(*problem, epsilon=0.01, tolerance=1e-12, max_iterations=3)
    assert found.iterations == 3
    assert not found.converged.any()
    assert "did not converge in 3 iterations" in caplog.text


def test_what_the_mask_cannot_carry_is_refused(launches):
    allowed = torch.eye(4, dtype=torch.bool, device=DEVICE)
    rows = torch.tensor([0.7, 0.1, 0.1, 0.1], device=DEVICE)
    with pytest.raises(InfeasibleTransportError, match="is asked to move a mass"):
        partial_plan(torch.zeros(4, 4, device=DEVICE), rows, rows.flip(0), 0.9, epsilon=0.1, allowed=allowed)
    assert launches


@pytest.mark.parametrize(
    ("n", "m", "fits"), [(1024, 1, True), (1, 1024, True), (1025, 1, False), (1, 1025, False)]
)
def test_sizes_that_fit(n, m, fits):
    problem = Problem(torch.zeros(1, n, m, device=DEVICE), torch.ones(n), torch.ones(m))
    assert (triton_partial.sweeper(problem) is not None) == fits
