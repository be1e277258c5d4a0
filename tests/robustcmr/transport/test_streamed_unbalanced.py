"""Potentials streamed by FlashSinkhorn's kernels against the dense unbalanced plan in float64.

The kernels run on a GPU where there is one, and in Triton's interpreter where a process was started for that,
as ``test_triton_support`` does; whatever needs no kernel runs everywhere.
"""

import importlib.util
import os
import sys

import pytest
import torch
from torch.nn.functional import normalize

from robustcmr.errors import ConfigError, DeviceError
from robustcmr.transport import unbalanced_plan
from robustcmr.transport.streamed_unbalanced import streamed_potentials, streamed_row_masses

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda"

kernels = pytest.mark.skipif(
    importlib.util.find_spec("flash_sinkhorn") is None or not (INTERPRETED or torch.cuda.is_available()),
    reason="no flash-sinkhorn, or no GPU and not in Triton's interpreter",
)


@pytest.fixture(autouse=True)
def promised(monkeypatch):
    """FlashSinkhorn asks where tensors are; in the interpreter it may be told that they are on a GPU."""
    if INTERPRETED:
        monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda self: True))


def random_problem(n, m, d, seed=0):
    """Unit vectors around a few middles, and uneven weights, float32 on the device."""
    generator = torch.Generator().manual_seed(seed)
    middles = torch.randn(4, d, generator=generator)
    sides = [
        normalize(middles[torch.arange(k) % 4] + 0.7 * torch.randn(k, d, generator=generator), dim=-1)
        for k in (n, m)
    ]
    weights = [torch.rand(k, generator=generator) + 0.2 for k in (n, m)]
    r, c = weights[0] / weights[0].sum(), 1.7 * weights[1] / weights[1].sum()
    return tuple(x.to(DEVICE) for x in (*sides, r, c))


def by_float64(x, y, r, c, epsilon, penalty, sweeps=4000):
    """Potentials by plain logarithmic scaling, and the plan."""
    x, y, r, c = (z.double().cpu() for z in (x, y, r, c))
    cost, share = 1 - x @ y.T, penalty / (penalty + epsilon)
    f, g = torch.zeros(len(x), dtype=torch.float64), torch.zeros(len(y), dtype=torch.float64)
    for _ in range(sweeps):
        f = -share * epsilon * torch.logsumexp((g - cost) / epsilon + c.log(), 1)
        g = -share * epsilon * torch.logsumexp((f.unsqueeze(1) - cost) / epsilon + r.log().unsqueeze(1), 0)
    P = r.unsqueeze(1) * c * ((f.unsqueeze(1) + g - cost) / epsilon).exp()
    return f, g, P


@kernels
@pytest.mark.parametrize(
    ("n", "m", "d", "epsilon", "penalty"),
    [(40, 70, 48, 0.05, 0.09), (33, 17, 20, 0.02, 0.25), (1, 5, 16, 0.1, 1.0), (65, 3, 130, 0.05, 0.04)],
)
def test_potentials_are_those_of_the_dense_plan(n, m, d, epsilon, penalty):
    x, y, r, c = random_problem(n, m, d)
    f, g = streamed_potentials(x, y, r, c, epsilon=epsilon, penalty=penalty)
    slow_f, slow_g, P = by_float64(x, y, r, c, epsilon, penalty)
    assert (f.dtype, f.shape, g.shape) == (torch.float32, (n,), (m,))
    torch.testing.assert_close(f.cpu().double(), slow_f, rtol=0, atol=1e-4 * epsilon)
    torch.testing.assert_close(g.cpu().double(), slow_g, rtol=0, atol=1e-4 * epsilon)
    logs, error = streamed_row_masses(x, y, r, c, (f, g), epsilon=epsilon, penalty=penalty)
    assert error < 1e-4
    torch.testing.assert_close(logs.cpu().double().exp(), P.sum(1), rtol=1e-3, atol=1e-7)


@kernels
def test_too_few_scalings_show_in_the_error():
    x, y, r, c = random_problem(20, 30, 16)
    potentials = streamed_potentials(x, y, r, c, epsilon=0.02, penalty=0.5, max_iterations=2)
    assert streamed_row_masses(x, y, r, c, potentials, epsilon=0.02, penalty=0.5)[1] > 1e-3


@pytest.mark.parametrize("block_bytes", [1, 300, 2**20])
def test_row_masses_in_blocks(block_bytes):
    x, y, r, c = random_problem(23, 31, 12)
    epsilon, penalty = 0.05, 0.2
    f, g, P = by_float64(x, y, r, c, epsilon, penalty)
    plan = unbalanced_plan(
        *(1 - x.double() @ y.double().T, r.double(), c.double()),
        epsilon=epsilon,
        penalty=penalty,
        tolerance=1e-9,
    )
    torch.testing.assert_close(P, plan.plan.cpu(), rtol=1e-6, atol=1e-12)  # the reference is right
    potentials = (f.float().to(DEVICE), g.float().to(DEVICE))
    options = {"epsilon": epsilon, "penalty": penalty, "block_bytes": block_bytes}
    logs, error = streamed_row_masses(x, y, r, c, potentials, **options)
    torch.testing.assert_close(logs.cpu().double().exp(), P.sum(1), rtol=1e-4, atol=1e-9)
    assert error < 1e-4
    shifted = (potentials[0] + 0.01, potentials[1])
    _, off = streamed_row_masses(x, y, r, c, shifted, **options)
    expected = P.sum(1) * torch.tensor(0.01 / epsilon).exp() - P.sum(1) * torch.tensor(-0.01 / penalty).exp()
    assert off == pytest.approx(
        float(expected.sum() / (P.sum() * torch.tensor(-0.01 / penalty).exp())), rel=1e-3
    )


def test_a_gpu_is_asked_for(monkeypatch):
    monkeypatch.setattr("robustcmr.transport.streamed_unbalanced.interpreted", lambda: False)
    x, y, r, c = (z.cpu() for z in random_problem(4, 5, 8))
    with pytest.raises(DeviceError, match=r"needs an NVIDIA GPU, but the vectors are on cpu; .* sparse plan"):
        streamed_potentials(x, y, r, c, epsilon=0.1, penalty=0.1)


def test_the_package_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_sinkhorn", None)
    monkeypatch.setattr("robustcmr.transport.streamed_unbalanced.interpreted", lambda: True)
    with pytest.raises(ConfigError, match=r"pip install 'robustcmr\[cuda\]'; install it or take the sparse"):
        streamed_potentials(*random_problem(4, 5, 8), epsilon=0.1, penalty=0.1)


def test_kernels_that_cannot_be_built_are_told(monkeypatch):
    def no_compiler(**options):
        def solve(*problem):
            raise OSError("no C\ncompiler")

        return solve

    monkeypatch.setitem(sys.modules, "flash_sinkhorn", type(sys)("flash_sinkhorn"))
    monkeypatch.setattr(sys.modules["flash_sinkhorn"], "SamplesLoss", no_compiler, raising=False)
    monkeypatch.setattr("robustcmr.transport.streamed_unbalanced.interpreted", lambda: True)
    with pytest.raises(
        DeviceError, match=r"FlashSinkhorn failed \(OSError: no C compiler\); take the sparse"
    ):
        streamed_potentials(*random_problem(4, 5, 8), epsilon=0.1, penalty=0.1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": torch.rand(4, 7)}, "expected vectors"),
        ({"x": torch.empty(0, 8)}, "n and m >= 1"),
        ({"r": torch.rand(3)}, "expected positive weights"),
        ({"c": torch.zeros(5)}, "expected positive weights"),
        ({"r": torch.full((4,), float("inf"))}, "expected positive weights"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"max_iterations": 0}, "max_iterations at least 1, got 0.1, 0.0001 and 0"),
        ({"x": 2 * torch.eye(8)[:4]}, "of length 1, got one that misses it by 1"),
        ({"epsilon": 0.0}, "epsilon must be positive and finite, got 0.0"),
        ({"penalty": float("inf")}, "penalty must be positive and finite, got inf"),
    ],
)
def test_misuse(change, says):
    x, y, r, c = random_problem(4, 5, 8)
    problem = {"x": x, "y": y, "r": r, "c": c, "epsilon": 0.1, "penalty": 0.1} | change
    numbers = {name: problem.pop(name) for name in tuple(problem) if name not in "xyrc"}
    with pytest.raises(ValueError, match=says):
        streamed_potentials(*problem.values(), **numbers)
