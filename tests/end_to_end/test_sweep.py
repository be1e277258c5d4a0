"""A sweep of real trainings, killed by -9 together with its trial, gives the table of one never killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from robustcmr.jobs.train import train
from robustcmr.sweeps.folder import SweepFolder
from robustcmr.sweeps.options import read_sweep
from robustcmr.sweeps.trials import plan_trials

NAMES = ["hinge-seed0", "infonce-seed0"]


@pytest.fixture
def sweep_file(tiny_tree: dict[str, Any], tmp_path: Path) -> Path:
    training = {**tiny_tree["training"], "epochs": 3, "checkpoint_minutes": 1e-9}
    base = {**tiny_tree, "training": training}
    del base["method"]
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({"base": base, "grid": {"method.name": ["hinge", "infonce"]}}))
    return path


@pytest.fixture
def whole(sweep_file: Path, tmp_path: Path) -> SweepFolder:
    """The same trials, each trained in one go."""
    options = read_sweep(str(sweep_file))
    planned = plan_trials(options, "the sweep")
    folder = SweepFolder(tmp_path / "whole")
    folder.write_plan(options, planned)
    for entry in planned:
        train(entry.config, folder.run(entry.trial.name).path)
    return folder


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "robustcmr", "sweep", *map(str, words)]


def finish(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=240, check=False)


def kill_while_training(process: subprocess.Popen[str], folder: SweepFolder) -> None:
    """Kill the sweep first, as a power cut would, and its trial with it."""
    checkpoint = folder.run(NAMES[0]).checkpoint("last")
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline, "no checkpoint within two minutes"
        time.sleep(0.01)
    trials = psutil.Process(process.pid).children(recursive=True)
    assert trials
    process.kill()
    for trial in trials:
        os.kill(trial.pid, signal.SIGKILL)


def table(folder: SweepFolder) -> Any:
    """What the report says, without where the runs lie."""
    done = finish("report", folder.path, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.replace(str(folder.path), "SWEEP"))


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_table(
    whole: SweepFolder, sweep_file: Path, tmp_path: Path, comparable_run: Any
) -> None:
    folder = SweepFolder(tmp_path / "killed")
    threads = torch.get_num_threads()
    process = subprocess.Popen(
        command("run", sweep_file, "--output", folder.path, "--threads", threads),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        kill_while_training(process, folder)
    finally:
        process.kill()
        process.communicate()
    assert not folder.run(NAMES[0]).results.exists()
    status = json.loads(finish("status", folder.path, "--json").stdout)
    assert not status["alive"]
    assert [row["state"] for row in status["trials"]] == ["interrupted", "waiting"]

    resumed = finish("resume", folder.path)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.startswith(f"2 finished of 2 trials in {folder.path}\n")
    for name in NAMES:
        got, expected = (comparable_run(side.run(name).path) for side in (folder, whole))
        assert got["weights"] == expected["weights"]
        assert got["rows"] == expected["rows"]
        assert got["results"] == expected["results"]
    assert table(folder) == table(whole)
    page = folder.report.read_text(encoding="utf-8")
    assert "infonce" in page
    assert str(tmp_path) not in page  # links hold wherever the sweep folder is taken
