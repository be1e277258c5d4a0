"""Trials on a real Ray cluster on this machine, also when a worker dies."""

import io
import os
import signal
import sys
import threading
import time

import psutil
import pytest
from rich.console import Console

from robustcmr.errors import SweepError
from robustcmr.sweeps.display import Display
from robustcmr.sweeps.execute import build_executor, due_trials, run_trials
from robustcmr.sweeps.options import ExecutionOptions
from robustcmr.sweeps.process import Job
from robustcmr.sweeps.ray_cluster import RayExecutor, train_in_worker

NAMES = ["ratio0.2-seed0", "ratio0.4-seed0"]


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_a_missing_ray_is_reported(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SweepError, match=r"needs the package ray; .* pip install 'robustcmr\[ray\]'"):
        RayExecutor(ExecutionOptions(executor="ray"), tmp_path / "stop")


def test_a_task_that_comes_too_late_trains_nothing(tmp_path, fake):
    (tmp_path / "stop").write_text("stop\n")
    job = Job("a", tmp_path / "a", tmp_path / "a", tmp_path / "a", tmp_path / "a", {}, fake.program)
    assert train_in_worker(job, tmp_path / "stop").code == -signal.SIGTERM
    assert fake.starts == []


def test_a_task_trains_one_trial(tmp_path, fake):
    (tmp_path / "a.yaml").write_text("")
    places = [tmp_path / name for name in ("a.yaml", "run", "log", "lock")]
    job = Job("a", *places, {}, fake.program)
    assert train_in_worker(job, tmp_path / "stop").code == 0
    (tmp_path / "run" / "config.yaml").unlink()
    assert train_in_worker(job, tmp_path / "stop").code == 1  # the trial refuses a folder with other files
    assert "not empty" in (tmp_path / "log").read_text()


@pytest.fixture(scope="module")
def cluster():
    """A Ray of its own for this module, with two cores."""
    ray = pytest.importorskip("ray", reason="the test extra installs Ray where it has a wheel")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.fixture
def run(fake):
    def call(folder, **execution):
        executor = build_executor(ExecutionOptions(executor="ray", **execution), folder)
        console = Console(file=io.StringIO(), width=200)
        due = due_trials(folder, retry_failed=False)
        return run_trials(folder, due, executor, Display(console), fake.program)

    return call


@pytest.mark.slow
def test_trials_run_in_ray(cluster, planned, run, fake):
    folder = planned(seeds=[0])
    fake.behave(fail=[NAMES[1]])
    outcome = run(folder, jobs=2)
    assert (outcome.counted["finished"], outcome.counted["failed"]) == (1, 1)
    assert "cannot be computed" in outcome.failed[NAMES[1]]
    assert sorted(fake.starts) == [f"{name} start 1" for name in NAMES]


@pytest.mark.slow
def test_a_trial_whose_worker_dies_is_resumed(cluster, planned, run, fake):
    """The worker is killed by -9; its trial outlives it, saves itself, and goes on in another worker."""
    folder = planned(seeds=[0], grid={"noise.ratio": [0.2]})
    fake.behave(pause=0.1, epochs=40)
    metrics = folder.run(NAMES[0]).metrics
    killed = []

    def kill_the_worker():
        until(metrics.exists)
        trial = next(
            p for p in psutil.process_iter(["cmdline"]) if str(metrics.parent) in (p.info["cmdline"] or [])
        )
        worker = trial.parent()
        assert "ray::" in " ".join(worker.cmdline())
        worker.kill()
        killed.append(worker.pid)

    thread = threading.Thread(target=kill_the_worker)
    thread.start()
    outcome = run(folder, jobs=1)
    thread.join()
    assert killed
    assert outcome.counted["finished"] == 1
    assert [line.split()[1] for line in fake.starts] == ["start", "resume"]
    assert len(metrics.read_text().splitlines()) == 40


@pytest.mark.slow
def test_a_signal_stops_trials_in_ray(cluster, planned, run, fake):
    folder = planned(seeds=[0])
    fake.behave(pause=0.1, epochs=500)

    def stop():
        until(folder.run(NAMES[0]).metrics.exists)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=stop)
    thread.start()
    outcome = run(folder, jobs=1)
    thread.join()
    assert outcome.signal_number == signal.SIGINT
    assert (outcome.counted["interrupted"], outcome.counted["waiting"]) == (1, 1)
    assert not folder.stop.exists()


@pytest.mark.slow
def test_shares_come_from_the_cluster(cluster, tmp_path):
    def shares(**asked):
        executor = RayExecutor(ExecutionOptions(executor="ray", **asked), tmp_path / "stop")
        executor.close()  # the cluster is not its own, and stays
        return executor.shares.jobs, executor.shares.threads

    assert shares() == (1, 2)
    assert shares(threads=1) == (2, 1)
    assert shares(jobs=2) == (2, 1)
    assert shares(jobs=1) == (1, 2)
    with pytest.raises(SweepError, match=r"--threads is 64, .* has more than 2"):
        shares(threads=64)
    assert cluster.is_initialized()


def test_a_missing_cluster_is_reported(monkeypatch, tmp_path):
    class NoRay:
        def is_initialized(self):
            return False

        def init(self, **options):
            raise ConnectionError(f"nobody answers at {options['address']}\nand more")

    monkeypatch.setitem(sys.modules, "ray", NoRay())
    for address, sentence in (
        (
            "10.0.0.1:6379",
            "no Ray cluster at 10.0.0.1:6379: nobody answers at 10.0.0.1:6379; check the address",
        ),
        (None, "cannot start Ray here: nobody answers at local; use --executor local"),
    ):
        with pytest.raises(SweepError) as error:
            RayExecutor(ExecutionOptions(executor="ray", address=address), tmp_path / "stop")
        assert str(error.value).startswith(sentence)
