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
from robustcmr.jobs.train import resume, train
from robustcmr.methods import robust
from robustcmr.selection import divide_by_mixture
from robustcmr.training.checkpoint import load_state
from robustcmr.training.interrupt import TrainingStopped
from robustcmr.training.loop import Trainer
from robustcmr.types import Division

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
        if self.state.global_step == stop_at - 1:
            os.kill(os.getpid(), number)
        return result

    out = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_take_step", step_then_signal)
        with pytest.raises(TrainingStopped) as stopped:
            train(resolve(tiny_tree), out)
    assert stopped.value.signal_number == number
    position = load_state(out / "checkpoints" / "last")["training"]
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


@pytest.mark.slow
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
    for _ in range(2400):
        if process.poll() is not None:
            raise AssertionError(f"the run ended by itself: {process.stderr and process.stderr.read()}")
        try:
            if load_state(out / "checkpoints" / "last")["training"]["global_step"] >= steps:
                return
        except Exception:  # between two renames, or not there yet
            pass
        time.sleep(0.05)
    raise AssertionError(f"no checkpoint after step {steps} within two minutes")


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


@pytest.fixture
def dividing(tiny_tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A run that divides from the second epoch on, and finds two groups whatever the evidence."""

    def divide(evidence: Any, reference: Any, threshold: float) -> Division:
        del reference
        return divide_by_mixture(evidence, "gaussian", threshold, always=True)

    monkeypatch.setattr(robust, "divide_by_reference", divide)
    method = {"name": "robust", "warmup_epochs": 1, "least_findable": 0.0}
    return {**tiny_tree, "method": method}


class KilledError(Exception):
    """Ends a run as if it had been killed: nothing is saved any more."""


def test_stopped_and_killed_after_the_division(
    dividing: dict[str, Any], tmp_path: Path, comparable_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Estimates, teacher, the images drawn for captions and measured quality are restored."""
    whole = train(resolve(dividing), tmp_path / "whole")
    expected = comparable_run(whole.path)
    original = Trainer._take_step
    steps = whole.read_metrics()[0]["steps"]
    stop_at, kill_at = steps + 5, 2 * steps + 7  # amid the second epoch, and amid the third

    def step_then_end(self: Trainer, batches: Any) -> Any:
        result = original(self, batches)
        if self.state.global_step == stop_at - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if self.state.global_step == kill_at - 1:
            raise KilledError
        return result

    out = tmp_path / "stopped"
    often = {**dividing, "training": {**dividing["training"], "checkpoint_minutes": 1e-9}}
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_take_step", step_then_end)
        with pytest.raises(TrainingStopped):
            train(resolve(often), out)
        saved = load_state(out / "checkpoints" / "last")
        state = saved["training"]
        assert [state[name] for name in ("epoch", "step", "global_step")] == [1, 5, stop_at]
        assert state["scores"]["rematch"]["mass"] > 0  # part of the epoch is scored
        assert 0 < state["plan"]["metrics"]["suspected"] < 1
        assert saved["method"]["clean_probability"].std() > 0
        torch.manual_seed(99)  # whatever the new process has in its generators
        with pytest.raises(KilledError):
            resume(out)
    assert load_state(out / "checkpoints" / "last")["training"]["global_step"] == kill_at - 1
    torch.manual_seed(98)
    resumed = resume(out)
    got = comparable_run(out)
    assert got["weights"] == expected["weights"]
    for network in ("matcher_0", "teacher"):
        assert any(f"last/{network}.safetensors" in name for name in got["weights"])
    assert got["rows"] == expected["rows"]
    for row in got["rows"][1:]:
        assert {"division", "rematch"} <= row.keys()
    assert got["results"] == expected["results"]
    assert resumed.pairs.read_bytes() == whole.pairs.read_bytes()


@pytest.mark.parametrize("stop_at", [12, 24], ids=["before any division", "between two divisions"])
def test_stopped_while_dividing(
    stop_at: int,
    dividing: dict[str, Any],
    tmp_path: Path,
    comparable_run: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stop amid the scoring costs the division alone, which is then made again."""
    tree = {**dividing, "training": {**dividing["training"], "epochs": 3 if stop_at > 12 else 2}}
    whole = comparable_run(train(resolve(tree), tmp_path / "whole").path)
    original = Trainer.scorer

    def signal_then_score(self: Trainer, *args: Any) -> Any:
        if self.state.global_step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args)

    out = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "scorer", signal_then_score)
        with pytest.raises(TrainingStopped):
            train(resolve(tree), out)
    saved = load_state(out / "checkpoints" / "last")
    state = saved["training"]
    assert (state["global_step"], state["plan"]) == (stop_at, None)
    assert comparable_run(resume(out).path) == whole
