"""Stopped and resumed equals never stopped, bit for bit: by SIGTERM, by SIGINT, and by kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from robustcmr.config.resolve import resolve
from robustcmr.run import resume, train
from robustcmr.training.checkpoint import load_state
from robustcmr.training.interrupt import TrainingStopped
from robustcmr.training.loop import Trainer

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def whole(tiny_tree: dict[str, Any], tmp_path: Path, comparable_run: Any) -> Any:
    return comparable_run(train(resolve(tiny_tree), tmp_path / "whole").path)


@pytest.mark.parametrize("number", SIGNALS, ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("stop_at", [1, 14, 24], ids=["first step", "mid-epoch", "end of an epoch"])
def test_signal_mid_epoch(
    whole: Any,
    number: int,
    stop_at: int,
    tiny_tree: dict[str, Any],
    tmp_path: Path,
    comparable_run: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = Trainer._take_step

    def step_then_signal(self: Trainer, batches: Any) -> Any:
        result = original(self, batches)
        if self.global_step == stop_at - 1:
            os.kill(os.getpid(), number)
        return result

    out = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_take_step", step_then_signal)
        with pytest.raises(TrainingStopped) as stopped:
            train(resolve(tiny_tree), out)
    assert stopped.value.signal_number == number
    position = load_state(out / "checkpoints" / "last")["position"]
    assert position["global_step"] == stop_at  # the step was finished and no other begun
    assert not (out / "results.json").exists()
    torch.manual_seed(99)  # whatever the new process has in its generators
    assert comparable_run(resume(out).path) == whole


def test_stop_while_measuring(
    whole: Any,
    tiny_tree: dict[str, Any],
    tmp_path: Path,
    comparable_run: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from robustcmr.tracks.pairs import PairsTrack

    original = PairsTrack.evaluate
    calls = []

    def signal_then_measure(self: PairsTrack, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args, **kwargs)

    out = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(PairsTrack, "evaluate", signal_then_measure)
        with pytest.raises(TrainingStopped):
            train(resolve(tiny_tree), out)
    assert comparable_run(resume(out).path) == whole


def test_killed_without_warning(
    whole: Any, tiny_tree: dict[str, Any], tmp_path: Path, comparable_run: Any
) -> None:
    """A real process, killed by -9 once it has trained a while, more than once."""
    out, recipe = tmp_path / "killed", tmp_path / "recipe.yaml"
    tree = {**tiny_tree, "training": {**tiny_tree["training"], "checkpoint_minutes": 1e-9}}
    recipe.write_text(yaml.safe_dump(tree))
    slow = (
        "import time\nfrom robustcmr.training.loop import Trainer\nstep = Trainer._take_step\n"
        "def slowly(self, batches):\n    time.sleep(0.05)\n    return step(self, batches)\n"
        "Trainer._take_step = slowly\nfrom robustcmr.cli.main import run\nrun()\n"
    )
    begin = ["train", "--config", str(recipe), "--output", str(out)]
    for attempt, steps in enumerate((3, 17)):
        command = begin if attempt == 0 else ["train", "--resume", str(out)]
        process = subprocess.Popen(
            [sys.executable, "-c", slow, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            _wait_for_steps(out, steps, process)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == -signal.SIGKILL
    finished = subprocess.run(
        [sys.executable, "-m", "robustcmr", "train", "--resume", str(out)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "rSum" in finished.stdout
    got = comparable_run(out)
    assert got["weights"] == whole["weights"]
    assert got["rows"] == whole["rows"]
    assert got["results"] == whole["results"]


def _wait_for_steps(out: Path, steps: int, process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise AssertionError(f"the run ended by itself: {process.stderr and process.stderr.read()}")
        try:
            if load_state(out / "checkpoints" / "last")["position"]["global_step"] >= steps:
                return
        except Exception:  # between two renames, or not there yet
            pass
        time.sleep(0.05)
    raise AssertionError(f"no checkpoint after step {steps} within half a minute")


def test_stop_between_the_two_renames(
    whole: Any, tiny_tree: dict[str, Any], tmp_path: Path, comparable_run: Any
) -> None:
    out = tmp_path / "run"
    train(resolve(tiny_tree), out)
    (out / "results.json").unlink()
    folder = out / "checkpoints" / "last"
    folder.rename(folder.with_name(".last.old"))
    assert comparable_run(resume(out).path) == whole


def test_resume_of_a_finished_run_changes_nothing(tiny_tree: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(resolve(tiny_tree), out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    resume(out)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def test_workers_change_nothing(
    whole: Any, tiny_tree: dict[str, Any], tmp_path: Path, comparable_run: Any
) -> None:
    tree = {**tiny_tree, "training": {**tiny_tree["training"], "workers": 2}}
    assert comparable_run(train(resolve(tree), tmp_path / "workers").path)["weights"] == whole["weights"]


def test_another_seed_gives_other_weights(
    whole: Any, tiny_tree: dict[str, Any], tmp_path: Path, comparable_run: Any
) -> None:
    other = comparable_run(train(resolve({**tiny_tree, "seed": 1}), tmp_path / "other").path)
    assert other["weights"] != whole["weights"]
    assert other["results"]["noise_hash"] != whole["results"]["noise_hash"]


def test_metrics_rows_after_the_checkpoint_are_dropped(
    whole: Any, tiny_tree: dict[str, Any], tmp_path: Path, comparable_run: Any
) -> None:
    """A kill between writing the row and the checkpoint must not leave the epoch twice."""
    out = tmp_path / "run"
    train(resolve(tiny_tree), out)
    (out / "results.json").unlink()
    rows = (out / "metrics.jsonl").read_text().splitlines()
    extra = json.loads(rows[-1])
    extra["epoch"] += 1
    (out / "metrics.jsonl").write_text("\n".join([*rows, json.dumps(extra)]) + "\n")
    assert comparable_run(resume(out).path)["rows"] == whole["rows"]
