"""The plan itself: marginals, the released formula and convergence."""

import pytest
import torch

from robustcmr.transport import sinkhorn_plan


def problem(seed=0):
    generator = torch.Generator().manual_seed(seed)
    S = torch.rand(3, 5, 4, dtype=torch.float64, generator=generator) * 2 - 1
    a = torch.tensor([[0.2] * 5, [0.5, 0.5, 0, 0, 0], [0.1, 0.2, 0.3, 0.4, 0]], dtype=torch.float64)
    b = torch.tensor([[0.25] * 4, [0.0, 0.5, 0.5, 0.0], [1.0, 0, 0, 0]], dtype=torch.float64)
    return S, a, b


@pytest.mark.parametrize("smoothing", [0.05, 0.001])
def test_columns_are_exact_and_rows_approach(smoothing):
    S, a, b = problem()
    plan = sinkhorn_plan(S, a, b, smoothing=smoothing, iterations=3)
    assert (plan >= 0).all()
    assert (plan.sum(-2) - b).abs().max() < 1e-12
    off = [
        (sinkhorn_plan(S, a, b, smoothing=0.2, iterations=T).sum(-1) - a).abs().sum().item()
        for T in (1, 3, 100)
    ]
    assert off[0] > off[1] > off[2]
    assert off[2] < 1e-6


def test_equals_the_scaling_of_the_kernel():
    S, a, b = problem()
    plan = sinkhorn_plan(S, a, b, smoothing=0.1, iterations=2)
    P = torch.exp(S[0] / 0.1)
    for _ in range(2):
        P = P * (a[0] / P.sum(1)).unsqueeze(1)
        P = P * (b[0] / P.sum(0))
    assert (plan[0] - P).abs().max() < 1e-12
    assert (plan[1, 2:] == 0).all()
    assert (plan[1][:, [0, 3]] == 0).all()


def test_agrees_with_pot():
    ot = pytest.importorskip("ot")
    S, a, b = problem()
    plan = sinkhorn_plan(S, a, b, smoothing=0.1, iterations=2000)
    expected = ot.sinkhorn(a[0].numpy(), b[0].numpy(), 1 - S[0].numpy(), 0.1, stopThr=1e-13, numItermax=5000)
    assert (plan[0] - torch.from_numpy(expected)).abs().max() < 1e-9


def test_half_precision_is_widened():
    S, a, b = problem()
    assert sinkhorn_plan(S.half(), a.half(), b.half(), smoothing=0.05, iterations=3).dtype == torch.float32
