"""Whole sweeps of trials that train nothing: states, failures, stops, kills and resuming."""

import io
import json
import os
import signal
import subprocess
import threading
import time

import pytest
from rich.console import Console

from robustcmr import locks
from robustcmr.errors import InUseError, SweepError
from robustcmr.sweeps import execute, process
from robustcmr.sweeps.display import Display
from robustcmr.sweeps.execute import due_trials, end_orphans, run_trials
from robustcmr.sweeps.local import LocalExecutor, Shares
from robustcmr.sweeps.progress import standings

NAMES = ["ratio0.2-seed0", "ratio0.4-seed0", "ratio0.2-seed1", "ratio0.4-seed1"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(execute, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(execute, "DRAW_SECONDS", 0.05)


@pytest.fixture
def sweep(fake):
    """Run what is due of a folder in this process; gives the outcome and what was said."""

    def call(folder, jobs=1, retry_failed=False):
        console = Console(file=io.StringIO(), width=200)
        due = due_trials(folder, retry_failed)
        end_orphans(folder, due, console.print)
        outcome = run_trials(folder, due, LocalExecutor(Shares(jobs, 1, ())), Display(console), fake.program)
        return outcome, console.file.getvalue()

    return call


def states(folder):
    return {row.trial: row.state for row in standings(folder)}


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def outcomes(folder):
    return {name: folder.run(name).results.read_bytes() for name in NAMES}


def test_every_trial_runs_once(planned, sweep, fake):
    folder = planned()
    fake.behave(pause=0.2)
    outcome, said = sweep(folder)
    assert outcome.counted["finished"] == 4
    assert (outcome.failed, outcome.signal_number) == ({}, None)
    assert fake.starts == [f"{name} start 1" for name in NAMES]
    assert states(folder) == dict.fromkeys(NAMES, "finished")
    assert f"[4/4] {NAMES[3]} finished: dev rsum 103.0" in said
    assert said.splitlines()[0].endswith("s left")
    fake.behave()
    assert due_trials(folder, retry_failed=True) == []
    assert sweep(folder)[0].counted["finished"] == 4
    assert len(fake.starts) == 4


def test_no_trial_starts_after_the_hours_and_the_rest_can_be_resumed(planned, sweep, fake):
    folder = planned()
    console = Console(file=io.StringIO(), width=200)
    due = due_trials(folder, retry_failed=False)
    executor = LocalExecutor(Shares(1, 1, ()))
    outcome = run_trials(folder, due, executor, Display(console), fake.program, hours=0.0)
    assert outcome.counted["waiting"] == 4
    assert "the 0 hours are over: 4 trials are left" in console.file.getvalue()
    assert sweep(folder)[0].counted["finished"] == 4


def test_a_failure_keeps_its_traceback_and_does_not_stop_the_rest(planned, sweep, fake):
    folder = planned()
    fake.behave(fail=[NAMES[1]])
    outcome, said = sweep(folder)
    assert outcome.counted == {"finished": 3, "running": 0, "interrupted": 0, "failed": 1, "waiting": 0}
    reason = f"ArithmeticError: {NAMES[1]} cannot be computed"
    assert outcome.failed == {NAMES[1]: reason}
    assert f"{NAMES[1]} failed: {reason}" in said
    kept = folder.failure(NAMES[1]).read_text()
    assert kept.startswith(f"{NAMES[1]}: {reason}\nexit code 1 after")
    assert "Traceback (most recent call last)" in kept
    fake.behave()
    assert sweep(folder)[0].counted["failed"] == 1  # left alone unless asked
    assert len(fake.starts) == 4
    outcome, _ = sweep(folder, retry_failed=True)
    assert outcome.counted["finished"] == 4
    assert fake.starts[4:] == [f"{NAMES[1]} resume 1"]
    assert not folder.failure(NAMES[1]).exists()


def test_what_lies_in_the_way_of_a_trial_fails_that_trial_alone(planned, sweep):
    folder = planned()
    run = folder.run(NAMES[0])
    run.path.mkdir(parents=True)
    (run.path / "mine.txt").write_text("")
    outcome, _ = sweep(folder)
    assert outcome.counted["finished"] == 3
    assert outcome.failed == {NAMES[0]: "not empty"}
    assert "exit code 1" in folder.failure(NAMES[0]).read_text()


def test_jobs_run_side_by_side_and_never_more(planned, fake, monkeypatch):
    folder = planned()
    fake.behave(pause=0.15)
    most = []
    original = LocalExecutor.poll

    def counted(self):
        most.append(sum(locks.is_held(folder.trial_lock(name)) for name in NAMES))
        return original(self)

    monkeypatch.setattr(LocalExecutor, "poll", counted)
    console = Console(file=io.StringIO())
    run_trials(
        folder,
        due_trials(folder, False),
        LocalExecutor(Shares(3, 7, ())),
        Display(console),
        fake.program,
    )
    assert max(most) == 3
    assert {line.split()[2] for line in fake.starts} == {"7"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_trials_save_themselves(planned, sweep, fake, number):
    folder = planned()
    fake.behave(pause=0.1, epochs=30)
    metrics = folder.run(NAMES[0]).metrics

    def stop():
        until(metrics.exists)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    thread.start()
    outcome, said = sweep(folder)
    thread.join()
    assert outcome.signal_number == number
    assert outcome.counted == {"finished": 0, "running": 0, "interrupted": 1, "failed": 0, "waiting": 3}
    assert "stopping: running trials save and exit" in said
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    done = len(metrics.read_text().splitlines())
    fake.behave()
    assert sweep(folder)[0].counted["finished"] == 4
    assert fake.starts[1] == f"{NAMES[0]} resume 1"
    assert len(metrics.read_text().splitlines()) >= done


def test_a_second_signal_ends_trials_at_once(planned, sweep, fake):
    folder = planned()
    fake.behave(pause=0.1, epochs=500, deaf=[NAMES[0]])
    metrics = folder.run(NAMES[0]).metrics

    def stop_twice():
        until(metrics.exists)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=stop_twice)
    thread.start()
    outcome, _ = sweep(folder)
    thread.join()
    assert (outcome.counted["failed"], outcome.counted["interrupted"]) == (0, 1)
    assert outcome.signal_number == signal.SIGINT


def test_killed_and_resumed_is_as_never_killed(planned, sweep, fake):
    """The sweep is killed by -9 while two trials run; they outlive it, and save themselves as it goes on."""
    whole = planned("whole")
    fake.behave(epochs=60)
    sweep(whole)
    fake.behave(pause=0.05, epochs=60)
    folder = planned("killed", execution={"jobs": 2, "threads": 1})
    process = subprocess.Popen(fake.driver(folder.path), stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: all(folder.run(name).metrics.exists() for name in NAMES[:2]))
        refused = pytest.raises(InUseError, match=f"it is in use by process {process.pid} on ")
        with refused, locks.sole_user(folder.lock, "it"):
            raise AssertionError("two sweeps in one folder")
    finally:
        process.kill()
        process.communicate()
    assert states(folder) == dict(zip(NAMES, ["running"] * 2 + ["waiting"] * 2, strict=True))
    outcome, said = sweep(folder, jobs=2)
    assert "2 trials outlived their killed sweep" in said
    assert outcome.counted["finished"] == 4
    assert outcomes(folder) == outcomes(whole)
    begun = [line for line in fake.starts[4:] if line.startswith(NAMES[0])]
    assert [line.split()[1] for line in begun] == ["start", "resume"]


def test_a_trial_that_does_not_exit_is_reported(planned, monkeypatch):
    folder = planned()
    folder.read()
    folder.note(NAMES[0], "running")
    descriptor = locks.take(folder.trial_lock(NAMES[0]))
    monkeypatch.setattr(process, "ORPHAN_SECONDS", 0.1)
    with pytest.raises(SweepError, match=f"trial {NAMES[0]} is still trained by another process"):
        end_orphans(folder, due_trials(folder, False), lambda line: None)
    os.close(descriptor)


def test_an_error_of_the_sweep_leaves_no_process_behind(planned, fake, monkeypatch):
    folder = planned()
    fake.behave(pause=0.1, epochs=500)

    def broken(self, row):
        raise RuntimeError("a defect")

    monkeypatch.setattr(Display, "show", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        run_trials(
            folder,
            due_trials(folder, False),
            LocalExecutor(Shares(2, 1, ())),
            Display(Console(file=io.StringIO())),
            fake.program,
        )
    assert not any(locks.is_held(folder.trial_lock(name)) for name in NAMES)


def test_configurations_of_another_version_are_refused_before_anything_starts(planned, fake):
    folder = planned()
    for name in NAMES[:2]:
        path = folder.config(name)
        path.write_text(path.read_text() + "old_section: {a: 1}\n")
    folder.config(NAMES[2]).unlink()
    with pytest.raises(SweepError) as error:
        due_trials(folder, False)
    head, *rest = str(error.value).splitlines()
    assert head == f"2 problems in the sweep folder {folder.path}:"
    assert "old_section: unknown key" in rest[0]
    assert "(and 1 more like it)" in rest[0]
    assert "cannot read the configuration" in rest[1]
    assert fake.starts == []


def test_a_finished_trial_of_another_version_is_left_alone(planned, sweep):
    folder = planned()
    sweep(folder)
    folder.config(NAMES[0]).write_text("old_section: {a: 1}\n")
    assert due_trials(folder, False) == []


def test_states_on_disk_follow_the_trials(planned, sweep, fake):
    folder = planned()
    sweep(folder)
    events = [json.loads(line) for line in folder.states.read_text().splitlines()]
    noted = [(row["trial"], row["state"]) for row in events if "state" in row]
    assert noted == [(name, state) for name in NAMES for state in ("running", "finished")]
