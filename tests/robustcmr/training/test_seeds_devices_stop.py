from __future__ import annotations

import os
import random
import signal
import threading

import numpy as np
import pytest
import torch

from robustcmr.errors import DeviceError
from robustcmr.training.devices import build_accelerator, check_device, peak_memory_bytes
from robustcmr.training.interrupt import StopRequest, TrainingStopped
from robustcmr.training.seeds import capture_generators, generator_for, restore_generators, seed_everything


def draw() -> tuple[float, float, float, float]:
    # standard_normal keeps a second number back: its cache must survive too
    return torch.rand(1).item(), float(np.random.standard_normal()), random.random(), random.gauss(0, 1)  # noqa: NPY002


def test_generators_go_on_where_they_were(tmp_path: object) -> None:
    seed_everything(3)
    draw()
    state = capture_generators()
    expected = [draw() for _ in range(4)]
    seed_everything(99)
    restore_generators(state)
    assert [draw() for _ in range(4)] == expected


def test_seed_decides_everything() -> None:
    seed_everything(5)
    first = draw()
    seed_everything(5)
    assert draw() == first
    seed_everything(6)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_places_have_generators_of_their_own() -> None:
    draws = {generator_for(*keys).random() for keys in [(0, 1), (1, 0), (0, 1, 0), (0, 2), (1, 1)]}
    assert len(draws) == 5
    assert generator_for(7, 8).random() == generator_for(7, 8).random()


def test_cpu_and_its_precisions() -> None:
    assert build_accelerator("cpu", "fp32").device.type == "cpu"
    assert build_accelerator("cpu", "bf16").mixed_precision == "bf16"
    with pytest.raises(DeviceError, match="fp16 needs a GPU"):
        check_device("cpu", "fp16")
    assert peak_memory_bytes(torch.device("cpu"))["cpu"] > 10 * 2**20


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_no_gpu(device: str) -> None:
    with pytest.raises(DeviceError, match="no CUDA GPU"):
        check_device(device, "fp32")


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:x", "cpu:0", ""])
def test_a_device_that_does_not_exist(device: str) -> None:
    with pytest.raises(
        DeviceError, match=f"unknown device '{device}', expected auto, cpu, cuda, cuda:N or mps"
    ):
        build_accelerator(device, "fp32")


def test_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device("cuda:1", "fp16")
    with pytest.raises(DeviceError, match="there are 2 GPUs"):
        check_device("cuda:2", "fp32")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no Apple GPU"):
        check_device("mps", "fp32")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        stop.raise_if_asked()
        os.kill(os.getpid(), number)
        with pytest.raises(TrainingStopped) as stopped:
            stop.raise_if_asked()
        assert stopped.value.signal_number == number
    assert signal.getsignal(number) is before


def test_second_ctrl_c_stops_at_once() -> None:
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_in_another_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with StopRequest() as stop:
            seen.append(signal.getsignal(signal.SIGINT) is before)
            stop.raise_if_asked()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
