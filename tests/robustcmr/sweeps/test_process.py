"""One trial as a process: started, resumed, stopped, and its outcome."""

import json
import os
import signal
import time

import pytest

from robustcmr import locks
from robustcmr.errors import SweepError
from robustcmr.runs.folder import RunFolder
from robustcmr.sweeps import process
from robustcmr.sweeps.process import Ended, Job, launch, log_end, state_after, wait_or_stop


@pytest.fixture
def job(tmp_path, fake):
    (tmp_path / "a.yaml").write_text("seed: 0\n")
    return Job(
        trial="a",
        config=tmp_path / "a.yaml",
        run=tmp_path / "trials" / "a",
        log=tmp_path / "logs" / "a.txt",
        lock=tmp_path / "locks" / "a.lock",
        environment={"OMP_NUM_THREADS": "5"},
        program=fake.program,
    )


def ended(job, code, error=None):
    return state_after(Ended("a", code, 1.0, error), RunFolder(job.run), job.log)


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_a_trial_runs_with_its_share_and_its_lock(job, fake):
    fake.behave(pause=0.2)
    child = launch(job)
    assert locks.is_held(job.lock)
    assert locks.read_owner(job.lock)["pid"] == child.pid
    assert child.wait() == 0
    assert not locks.is_held(job.lock)
    assert fake.starts == ["a start 5"]
    assert ended(job, 0) == ("finished", None)


def test_a_started_trial_is_resumed(job, fake):
    fake.behave(pause=0.2)
    child = launch(job)
    until((job.run / "metrics.jsonl").exists)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert ended(job, -signal.SIGKILL)[0] == "failed"
    assert launch(job).wait() == 0
    assert fake.starts == ["a start 5", "a resume 5"]
    assert len((job.run / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_folder_without_a_run_is_left_to_the_trial(job, fake):
    """It takes what a kill left before its run began, and refuses other people's files."""
    job.run.mkdir(parents=True)
    (job.run / "mine.txt").write_text("precious")
    assert launch(job).wait() == 1
    assert fake.starts == ["a start 5"]
    assert ended(job, 1) == ("failed", "not empty")
    assert (job.run / "mine.txt").read_text() == "precious"


def test_a_damaged_outcome_is_put_aside(job, fake):
    assert launch(job).wait() == 0
    (job.run / "results.json").write_text('{"rows": [')
    assert ended(job, 1)[0] == "failed"
    assert launch(job).wait() == 0
    assert (job.run / "results.json.damaged").read_text() == '{"rows": ['
    assert json.loads((job.run / "results.json").read_text())
    assert ended(job, 0) == ("finished", None)


def test_a_process_left_behind_saves_itself_before_another_begins(job, fake):
    fake.behave(pause=0.3, epochs=50)
    left = launch(job)
    until((job.run / "metrics.jsonl").exists)
    fake.behave(pause=0)
    second = launch(job)
    assert left.poll() == 128 + signal.SIGTERM
    assert second.wait() == 0
    assert [line.split()[1] for line in fake.starts] == ["start", "resume"]


def test_a_process_left_behind_that_does_not_exit_is_reported(job, fake, monkeypatch):
    fake.behave(pause=0.3, epochs=50, deaf=["a"])
    left = launch(job)
    until((job.run / "metrics.jsonl").exists)
    monkeypatch.setattr(process, "ORPHAN_SECONDS", 0.3)
    with pytest.raises(SweepError, match=f"is still trained by process {left.pid} on"):
        launch(job)
    left.kill()
    left.wait()


def test_only_a_living_process_of_this_machine_is_asked_to_stop(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "kill", lambda pid, number: asked.append(pid))
    lock = tmp_path / "lock"
    process.ask_to_stop(lock)
    lock.write_text("\n" + json.dumps({"pid": 5, "host": "elsewhere", "since": "now"}))
    process.ask_to_stop(lock)
    assert asked == []
    lock.write_text("\n" + json.dumps({"pid": 5, "host": process.socket.gethostname(), "since": "now"}))
    process.ask_to_stop(lock)
    assert asked == [5]

    def gone(pid, number):
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", gone)
    process.ask_to_stop(lock)


@pytest.mark.parametrize(
    ("behaviour", "code", "reason"),
    [
        ("fail", 1, "ArithmeticError: a cannot be computed"),
        ("mistake", 2, "data.root: no such folder"),
        ("killed", -9, "it was killed by SIGKILL, perhaps for lack of memory"),
        ("empty", 0, "it exited without results"),
    ],
)
def test_reasons_of_failures(job, fake, behaviour, code, reason):
    fake.behave(**{behaviour: ["a"]})
    child = launch(job)
    assert child.wait() == code
    assert ended(job, code) == ("failed", reason)
    if behaviour == "fail":
        assert "Traceback (most recent call last)" in log_end(job.log)


@pytest.mark.parametrize("code", [130, 143, -2, -15, -1])
def test_a_trial_that_was_asked_to_stop_is_interrupted(job, code):
    assert ended(job, code) == ("interrupted", None)


def test_exits_without_a_message(job):
    assert ended(job, 3) == ("failed", "it exited without a message")
    assert ended(job, -11) == ("failed", "it was killed by SIGSEGV")
    assert ended(job, None, "no machine") == ("failed", "no machine")
    assert log_end(job.log) == ""


def test_a_log_is_not_written_through_a_link(job, tmp_path):
    (tmp_path / "precious").write_text("x")
    job.log.parent.mkdir()
    job.log.symlink_to(tmp_path / "precious")
    launch(job).wait()
    assert (tmp_path / "precious").read_text() == "x"
    assert not job.log.is_symlink()


def test_a_long_log_is_cut(job):
    job.log.parent.mkdir()
    job.log.write_bytes(b"x" * 100_000 + b"\xff end\n")
    text = log_end(job.log)
    assert len(text) <= process.LONGEST_FAILURE
    assert text.endswith("� end\n")


@pytest.mark.parametrize(("word", "deaf", "code"), [("stop", [], 143), ("kill", ["a"], -9)])
def test_a_file_stops_a_trial(job, fake, tmp_path, word, deaf, code):
    fake.behave(pause=0.1, epochs=500, deaf=deaf)
    child = launch(job)
    until((job.run / "metrics.jsonl").exists)
    (tmp_path / "stop").write_text(word)
    assert wait_or_stop(child, tmp_path / "stop") == code
