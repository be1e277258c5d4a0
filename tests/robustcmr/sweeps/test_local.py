"""What each trial gets of the machine."""

import pytest
import torch

from robustcmr.errors import SweepError
from robustcmr.sweeps.local import Shares, local_shares, usable_cores, usable_gpus
from robustcmr.sweeps.options import ExecutionOptions


@pytest.mark.parametrize(
    ("asked", "environment", "cores", "gpus", "expected"),
    [
        ({}, {}, 8, (), (1, 8)),
        ({"jobs": 3}, {}, 8, (), (3, 2)),
        ({"jobs": 16}, {}, 8, (), (16, 1)),
        ({"jobs": 2, "threads": 3}, {"OMP_NUM_THREADS": "1"}, 8, (), (2, 3)),
        ({"jobs": 2}, {"OMP_NUM_THREADS": "1"}, 8, (), (2, 1)),
        ({"jobs": 2}, {"OMP_NUM_THREADS": " "}, 8, (), (2, 4)),
        ({}, {}, 16, ("0", "1", "2", "3"), (4, 4)),
    ],
)
def test_threads_and_jobs(asked, environment, cores, gpus, expected):
    shares = local_shares(ExecutionOptions(**asked), environment, cores, gpus)
    assert (shares.jobs, shares.threads) == expected


def test_a_bad_number_of_threads_is_told():
    with pytest.raises(SweepError, match="OMP_NUM_THREADS is 'many', expected a whole number"):
        local_shares(ExecutionOptions(), {"OMP_NUM_THREADS": "many"}, 4, ())


def test_gpus_are_given_in_turn():
    shares = Shares(4, 2, ("3", "GPU-a"))
    shown = [shares.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(4)]
    assert shown == ["3", "GPU-a", "3", "GPU-a"]
    assert shares.describe() == "4 at a time, 2 threads each, on GPU 3, GPU-a"
    assert Shares(1, 1, ()).environment(0) == {"OMP_NUM_THREADS": "1"}
    assert Shares(1, 1, ()).describe() == "1 at a time, 1 thread each"


@pytest.mark.parametrize(
    ("said", "expected"),
    [("", ()), ("-1", ()), ("2, GPU-x", ("2", "GPU-x")), ("1,-1,2", ("1",))],
)
def test_visible_gpus_as_cuda_reads_them(said, expected):
    assert usable_gpus({"CUDA_VISIBLE_DEVICES": said}) == expected


def test_all_gpus_where_nothing_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert usable_gpus({}) == ("0", "1")


def test_cores(monkeypatch):
    assert usable_cores() >= 1
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert usable_cores() == 1
