"""The sweep command: what it prints, what it refuses, and with which code it ends."""

import functools
import json
import os
import signal
import sys

import pytest

from robustcmr import locks
from robustcmr.sweeps import execute
from robustcmr.sweeps.execute import Outcome
from robustcmr.sweeps.folder import SweepFolder
from robustcmr.sweeps.options import ExecutionOptions
from robustcmr.sweeps.progress import counts

TRIAL = """
import json, sys
from pathlib import Path
words = dict(zip(sys.argv[2::2], sys.argv[3::2]))
run = Path(words.get("--output") or words["--resume"])
run.mkdir(parents=True, exist_ok=True)
(run / "environment.json").write_text("{}")
(run / "config.yaml").write_text("seed: 0")
if (Path(__file__).parent / f"fail-{run.name}").exists():
    sys.exit("robustcmr: no luck")
(run / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "dev": {"rsum": 12.5}}) + "\\n")
results = {"data": "scenes", "matcher": "omit", "method": "hinge", "seed": 0, "n_models": 1, "track": "pairs"}
(run / "results.json").write_text(json.dumps({**results, "splits": {}, "best_epoch": 1, "epochs": 1}))
"""
NAMES = ["ratio0-seed0", "ratio0.4-seed0"]


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep file of two trials that train nothing, in the current folder."""
    (tmp_path / "trial.py").write_text(TRIAL)
    path = tmp_path / "small.yaml"
    path.write_text("base: {method: hinge, training: {epochs: 1}}\ngrid: {noise.ratio: [0, 0.4]}\n")
    program = (sys.executable, str(tmp_path / "trial.py"))
    monkeypatch.setattr(execute, "run_trials", functools.partial(execute.run_trials, program=program))
    monkeypatch.setattr(execute, "LOOK_SECONDS", 0.02)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    return path


def test_run_status_and_resume(robustcmr, sweep):
    done = robustcmr("sweep", "run", sweep)
    assert done.code == 0
    assert done.out.splitlines() == [
        "2 finished of 2 trials in sweeps/small",
        "compare them: robustcmr sweep report sweeps/small",
    ]
    assert "2 of 2 trials are new" in done.err
    assert "2 trials to run, 1 at a time" in done.err
    assert f"[2/2] {NAMES[1]} finished: dev rsum 12.5" in done.err
    status = robustcmr("sweep", "status", "sweeps/small")
    assert status.code == 0
    assert "2 finished of 2; no process runs it now" in status.out
    assert "resume" not in status.out
    again = robustcmr("sweep", "run", sweep)
    assert (again.code, "no trial is left to run" in again.err) == (0, True)
    assert robustcmr("sweep", "resume", "sweeps/small").code == 0


def test_failures_are_listed_and_tried_again_on_request(robustcmr, sweep):
    mark = sweep.parent / f"fail-{NAMES[0]}"
    mark.write_text("")
    done = robustcmr("sweep", "run", sweep, "-o", "out")
    assert done.code == 1
    assert done.out.splitlines()[:2] == [
        "1 finished, 1 failed of 2 trials in out",
        f"failed: {NAMES[0]}: no luck; its stderr is in out/failures/{NAMES[0]}.txt",
    ]
    status = robustcmr("sweep", "status", "out")
    assert f"stderr of {NAMES[0]}: out/failures/{NAMES[0]}.txt" in status.out
    rows = json.loads(robustcmr("sweep", "status", "out", "--json").out)
    assert rows["counts"]["failed"] == 1
    assert rows["trials"][0] == {
        "trial": NAMES[0],
        "state": "failed",
        "epoch": 0,
        "epochs": 1,
        "split": "dev",
        "measure": "rsum",
        "best": None,
        "seconds": rows["trials"][0]["seconds"],
        "reason": "no luck",
    }
    mark.unlink()
    left = robustcmr("sweep", "resume", "out")
    assert "1 failed before" in left.err
    assert "--retry-failed" in left.err
    assert robustcmr("sweep", "resume", "out", "--retry-failed").code == 0


def test_dry_run_writes_nothing(robustcmr, sweep):
    done = robustcmr("sweep", "run", sweep, "--dry-run")
    assert (done.code, done.out) == (0, f"{NAMES[0]}  new\n{NAMES[1]}  new\n")
    assert not (sweep.parent / "sweeps").exists()
    robustcmr("sweep", "run", sweep)
    done = robustcmr("sweep", "run", sweep, "--dry-run")
    assert done.out == f"{NAMES[0]}  finished\n{NAMES[1]}  finished\n"
    assert "holds 2 finished" in done.err


def test_set_and_execution_are_remembered(robustcmr, sweep):
    robustcmr("sweep", "run", sweep, "--set", "optim.lr=0.5", "--jobs", "3", "--threads", "2")
    folder = SweepFolder(sweep.parent / "sweeps" / "small")
    assert folder.read_options().execution == ExecutionOptions(jobs=3, threads=2)
    assert folder.stored_config(NAMES[0])["optim"]["lr"] == 0.5
    other = robustcmr("sweep", "run", sweep)
    assert other.code == 2
    assert "already in sweeps/small with another configuration (optim.lr is 0.5 there" in other.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("run", "small.yaml", "--jobs", "0"),
            "the command: --jobs: got 0, expected a whole number of at least 1",
        ),
        (("run", "small.yaml", "--executor", "rya"), "--executor: got 'rya', expected local or ray"),
        (
            ("run", "small.yaml", "--address", "x:1"),
            "--address is x:1, which needs the executor ray",
        ),
        (("run", "small.yaml", "--set", "noise.ratio=0"), "'noise.ratio=0' sets a key that the sweep varies"),
        (("run", "small.yaml", "--set", "optim.lrr=1"), "optim.lrr: unknown key; did you mean 'optim.lr'?"),
        (("run", "nothing"), "no sweep file nothing"),
        (("run", "small.yaml", "-o", "small.yaml"), "small.yaml is a file"),
        (("status", "nowhere"), "nowhere is not there (no sweep.yaml)"),
        (("resume", "."), "holds no sweep (no sweep.yaml)"),
        (("report", "nowhere"), "nowhere is not there"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(robustcmr, sweep, words, sentence):
    outcome = robustcmr("sweep", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("robustcmr: ")
    assert len(outcome.err.splitlines()) == 1
    assert sentence in outcome.err
    assert not (sweep.parent / "sweeps").exists()


def test_a_folder_in_use_is_refused(robustcmr, sweep):
    robustcmr("sweep", "run", sweep)
    descriptor = locks.take(sweep.parent / "sweeps" / "small" / "lock")
    try:
        for words in (("run", sweep), ("resume", "sweeps/small")):
            outcome = robustcmr("sweep", *words)
            assert outcome.code == 2
            assert "the sweep folder sweeps/small is in use by another process" in outcome.err
        assert "a process runs it now" in robustcmr("sweep", "status", "sweeps/small").out
    finally:
        os.close(descriptor)


def test_a_stop_says_how_to_resume(robustcmr, sweep, monkeypatch):
    def stopped(*arguments, **options):
        return Outcome(counts(["finished", "interrupted"]), {}, signal.SIGINT)

    monkeypatch.setattr(execute, "run_trials", stopped)
    outcome = robustcmr("sweep", "run", sweep)
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "stopped; resume with: robustcmr sweep resume sweeps/small"
    status = robustcmr("sweep", "status", "sweeps/small")
    assert "2 waiting of 2" in status.out
    assert "resume with: robustcmr sweep resume sweeps/small" in status.out


def test_a_report_needs_a_finished_trial(robustcmr, sweep, monkeypatch):
    monkeypatch.setattr(execute, "run_trials", lambda *_, **__: Outcome(counts(["waiting"]), {}, None))
    assert robustcmr("sweep", "run", sweep).code == 1
    outcome = robustcmr("sweep", "report", "sweeps/small")
    assert outcome.code == 2
    assert "no trial of sweeps/small has finished" in outcome.err


def test_an_empty_sweep_folder_is_said(robustcmr, sweep):
    robustcmr("sweep", "run", sweep)
    (sweep.parent / "sweeps" / "small" / "trials.jsonl").unlink()
    status = robustcmr("sweep", "status", "sweeps/small")
    assert status.out == "no trials of 0; no process runs it now\n"
    resumed = robustcmr("sweep", "resume", "sweeps/small")
    assert resumed.code == 2
    assert "sweeps/small holds no trial, as its planning was interrupted; plan it again" in resumed.err
    assert robustcmr("sweep", "run", sweep).code == 0


def test_shipped_sweeps_are_listed_and_shown(robustcmr):
    listed = robustcmr("list", "sweeps").out
    assert [line.split()[0] for line in listed.splitlines()] == ["noise_rates", "noise_rates_quick"]
    assert "seeds: [0, 1, 2]" in robustcmr("show", "noise_rates").out
