"""Where Triton's kernels run, what happens where they do not, and their tests in its interpreter."""

import importlib.util
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from robustcmr.transport import pair_scores, partial_plan, triton_partial, triton_support
from robustcmr.transport.triton_support import Attempt, available, power_of_two

FOLDER = Path(__file__).parent


@pytest.fixture
def kernels_promised(monkeypatch):
    """Whoever asks is told that kernels run, but they cannot be imported."""
    from robustcmr.transport import triton_scores

    for module in (triton_support, triton_partial):
        monkeypatch.setattr(module, "available", lambda device: True)
    monkeypatch.setattr(triton_support, "interpreted", lambda: True)
    monkeypatch.setattr(triton_scores, "attempt", Attempt(triton_scores.attempt.warning))
    monkeypatch.setattr(triton_partial, "_attempt", Attempt(triton_partial._attempt.warning))
    for name in ("triton_kernels", "triton_partial_kernel"):
        monkeypatch.setitem(sys.modules, f"robustcmr.transport.{name}", None)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_the_kernels_in_the_interpreter():
    # It must be asked for before triton is first imported, so another process has to do it.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    env |= {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    files = [
        str(FOLDER / f"test_{part}.py") for part in ("triton_scores", "triton_partial", "streamed_unbalanced")
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    root = FOLDER.parents[2]
    found = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-2000:]
    assert re.search(r"^\d+ passed in", found.stdout.splitlines()[-1]), found.stdout[-2000:]


def test_a_failure_is_said_once_and_ends_all_attempts(caplog):
    calls = []

    def fail(x):
        calls.append(x)
        raise RuntimeError("no\ncompiler here")

    attempt = Attempt("Triton failed, so this takes longer")
    with caplog.at_level(logging.WARNING):
        assert attempt(lambda x: x + 1, 1) == 2
        assert attempt(fail, 2) is None
        assert attempt(fail, 3) is None
    assert calls == [2]
    assert attempt.broken
    assert [x.message for x in caplog.records] == [
        "Triton failed, so this takes longer: RuntimeError: no compiler here"
    ]


def test_want_of_memory_is_no_failure_of_triton():
    def fail():
        raise torch.OutOfMemoryError("none left")

    attempt = Attempt("this")
    with pytest.raises(torch.OutOfMemoryError):
        attempt(fail)
    assert not attempt.broken


@pytest.mark.parametrize(("length", "power"), [(0, 1), (1, 1), (2, 2), (3, 4), (36, 64), (64, 64), (65, 128)])
def test_power_of_two(length, power):
    assert power_of_two(length) == power


@pytest.mark.parametrize(
    ("device", "triton", "capability", "hip", "expected", "said"),
    [
        ("cpu", True, (9, 0), None, False, None),
        ("cuda", True, (9, 0), None, True, None),
        ("cuda", True, (8, 0), None, True, None),
        ("cuda", True, (7, 5), None, False, "capability 8.0"),
        ("cuda", True, (9, 4), "6.2", False, "NVIDIA"),
        ("cuda", False, (9, 0), None, False, "not installed"),
    ],
)
def test_available(monkeypatch, caplog, device, triton, capability, hip, expected, said):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(triton_support, "find_spec", lambda name: object() if triton else None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    available.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            found = [available(torch.device(device)) for _ in range(2)]
    finally:
        available.cache_clear()
    assert found == [expected] * 2
    assert len(caplog.records) == (said is not None)
    assert said is None or said in caplog.text


@pytest.mark.parametrize(
    ("variable", "triton", "expected"), [("1", True, True), ("0", True, False), ("1", False, False)]
)
def test_the_interpreter_runs_anywhere(monkeypatch, variable, triton, expected):
    monkeypatch.setenv("TRITON_INTERPRET", variable)
    monkeypatch.setattr(triton_support, "find_spec", lambda name: object() if triton else None)
    available.cache_clear()
    try:
        assert available(torch.device("cpu")) is triton_support.interpreted() is expected
    finally:
        available.cache_clear()


def test_scores_fall_back_to_tensor_operations(sets, kernels_promised, caplog):
    data = [x.float() for x in sets()]
    with caplog.at_level(logging.WARNING):
        found = [pair_scores(*data, smoothing=0.05, iterations=3, backend="triton") for _ in range(2)]
    expected = pair_scores(*data, smoothing=0.05, iterations=3, backend="tensors")
    assert all(torch.equal(x, expected) for x in found)
    assert len(caplog.records) == 1
    assert "the scoring of pairs takes tensor operations" in caplog.text


def test_sets_too_long_for_a_program_take_tensor_operations(sets, kernels_promised, caplog):
    data = [x.float() for x in sets(n=1, m=2, R=129, W=2)]
    with caplog.at_level(logging.WARNING):
        found = pair_scores(*data, smoothing=0.05, iterations=3, backend="triton")
    assert torch.equal(found, pair_scores(*data, smoothing=0.05, iterations=3, backend="tensors"))
    assert caplog.records == []


@pytest.mark.parametrize(("dtype", "interpreted"), [(torch.float32, False), (torch.float64, True)])
def test_triton_is_refused_where_it_cannot_be_had(sets, monkeypatch, dtype, interpreted):
    monkeypatch.setattr(triton_support, "interpreted", lambda: interpreted)
    with pytest.raises(ValueError, match=f"half precision on a GPU, got {dtype} on cpu"):
        pair_scores(*sets(dtype=dtype), smoothing=0.05, iterations=3, backend="triton")


def test_partial_plans_fall_back_to_tensor_operations(kernels_promised, monkeypatch, caplog):
    cost = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(0))
    problem = cost, torch.full((5,), 0.2), torch.full((4,), 0.25), 0.5
    with caplog.at_level(logging.WARNING):
        found = [partial_plan(*problem, epsilon=0.05) for _ in range(2)]
    assert len(caplog.records) == 1
    assert "the scaling of partial plans takes tensor operations" in caplog.text
    monkeypatch.setattr(triton_partial, "available", lambda device: False)
    assert torch.equal(found[1].plan, partial_plan(*problem, epsilon=0.05).plan)
    assert (found[0].plan - found[1].plan).abs().max() < 1e-5
