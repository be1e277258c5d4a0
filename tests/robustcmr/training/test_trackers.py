"""Trackers: off by default, refused when missing, told of every epoch, never worth losing a training for."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from robustcmr.config.resolve import resolve
from robustcmr.errors import ConfigError
from robustcmr.jobs.train import resume, train
from robustcmr.runs.folder import RunFolder
from robustcmr.training import trackers
from robustcmr.training.interrupt import TrainingStopped
from robustcmr.training.trackers import PACKAGES, check_trackers, scalars, send_epoch

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="needs tensorboard"
)


class Spy:
    """A tracker that remembers, and fails when it is told to."""

    def __init__(self, name: str, fails: bool = False) -> None:
        self.name, self.fails, self.told, self.finished = name, fails, [], False

    def log(self, values: dict[str, float], step: int) -> None:
        if self.fails:
            raise ConnectionError("no route to host")
        self.told.append((step, values))


class Accelerator:
    """As far as trackers know it."""

    def __init__(self, *spies: Spy) -> None:
        self.trackers = list(spies)


def test_scalars_are_finite_numbers_by_path():
    row = {"loss": 0.5, "dev": {"rsum": 300, "scopes": [1, 5]}, "a": {"b": {"c": 1.0}}, "note": "text"}
    odd = {"nan": float("nan"), "infinite": float("inf"), "none": None, "yes": True}
    assert scalars({**row, **odd}) == {"loss": 0.5, "dev/rsum": 300, "a/b/c": 1.0}


def test_every_tracker_is_told_and_one_that_fails_is_dropped(caplog):
    good, bad = Spy("good"), Spy("bad", fails=True)
    accelerator = Accelerator(bad, good)
    with caplog.at_level(logging.WARNING, "robustcmr"):
        send_epoch(accelerator, {"epoch": 1, "loss": 0.5})
        send_epoch(accelerator, {"epoch": 2, "loss": 0.25})
    assert good.told == [(1, {"loss": 0.5}), (2, {"loss": 0.25})]
    assert [record.getMessage() for record in caplog.records] == [
        "the tracker bad failed and gets no more metrics of this run: no route to host"
    ]


def test_missing_packages_are_named_with_the_command(monkeypatch):
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: ["mlflow"])
    check_trackers([])
    check_trackers(["mlflow"])
    with pytest.raises(
        ConfigError, match=r"has tensorboard, .* run: pip install 'robustcmr\[tensorboard\]'$"
    ):
        check_trackers(["tensorboard"])
    with pytest.raises(ConfigError, match=r"has comet_ml, wandb, .* pip install comet-ml wandb$"):
        check_trackers(["mlflow", "comet_ml", "wandb"])


def test_a_missing_package_is_told_before_anything_is_written(tiny_tree, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "get_available_trackers", list)
    tree = {**tiny_tree, "tracking": {"names": ["wandb"]}}
    with pytest.raises(ConfigError, match="pip install wandb"):
        train(resolve(tree), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_and_repeated_names_are_refused(tiny_tree):
    with pytest.raises(ConfigError, match=r"tracking\.names"):
        resolve({**tiny_tree, "tracking": {"names": ["tensorbord"]}})
    with pytest.raises(ConfigError, match="expected each tracker once"):
        resolve({**tiny_tree, "tracking": {"names": ["wandb", "wandb"]}})
    assert resolve(tiny_tree).settings.tracking.names == ()


def test_every_tracker_of_the_schema_has_a_package_and_accelerate_knows_it():
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    from robustcmr.config.schema import TrackerName

    names = set(TrackerName.__args__)
    assert names == set(PACKAGES) <= set(LOGGER_TYPE_TO_CLASS)


def events(folder: Path) -> dict[str, dict[int, float]]:
    """Scalars by name and step, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    found = {}
    for name in read.Tags()["scalars"]:
        points = read.Scalars(name)
        assert len({point.step for point in points}) == len(points), "a step is shown twice"
        found[name] = {point.step: point.value for point in points}
    return found


@needs_tensorboard
def test_tensorboard_shows_what_the_run_folder_says(tiny_tree, tmp_path):
    run = train(resolve({**tiny_tree, "tracking": {"names": ["tensorboard"]}}), tmp_path / "run")
    shown, rows = events(run.tracking / "robustcmr"), run.read_metrics()
    assert set(shown) == set(scalars({k: v for k, v in rows[0].items() if k != "epoch"}))
    for name in ("loss", "dev/rsum", "lr"):
        expected = {row["epoch"]: scalars(row)[name] for row in rows}
        assert shown[name] == pytest.approx(expected, rel=1e-6)


@needs_tensorboard
def test_a_resumed_run_goes_on_where_it_was(tiny_tree, tmp_path, monkeypatch, comparable_run):
    """Stopped in the last epoch, and again after its checkpoint was lost: every epoch is shown once."""
    from robustcmr.training.loop import Trainer

    plain = comparable_run(train(resolve(tiny_tree), tmp_path / "plain").path)
    original, out = Trainer._take_step, tmp_path / "run"

    def step_then_signal(self: Trainer, batches: Any) -> Any:
        result = original(self, batches)
        if self.state.global_step == 14:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    tree = {**tiny_tree, "tracking": {"names": ["tensorboard"], "project": "mine"}}
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_take_step", step_then_signal)
        with pytest.raises(TrainingStopped):
            train(resolve(tree), out)
    assert list(events(out / "tracking" / "mine")["loss"]) == [1]
    tracked = resume(out)
    assert list(events(out / "tracking" / "mine")["loss"]) == [1, 2, 3]
    found = comparable_run(tracked.path)
    assert found["weights"] == plain["weights"]  # a tracker changes nothing
    assert found["rows"] == plain["rows"]


@needs_tensorboard
def test_an_epoch_told_twice_is_shown_once(tiny_tree, tmp_path):
    from robustcmr.config.schema import TrackingOptions
    from robustcmr.training.devices import build_accelerator
    from robustcmr.training.trackers import tracking

    run = RunFolder(tmp_path)
    run.start("{}", {})
    options = TrackingOptions(names=("tensorboard",))
    for done, epochs in ((0, (1, 2)), (1, (2, 3))):  # killed after epoch 2 was told, before it was saved
        accelerator = build_accelerator("cpu", "fp32")
        with tracking(accelerator, options, run, {"seed": 1, "betas": [0.9, 0.99]}, done) as send:
            for epoch in epochs:
                send({"epoch": epoch, "loss": float(10 * done + epoch)})
    assert events(run.tracking / "robustcmr")["loss"] == {1: 1.0, 2: 12.0, 3: 13.0}


@needs_tensorboard
def test_a_tracker_that_does_not_start_is_one_sentence(tmp_path):
    from robustcmr.config.schema import TrackingOptions
    from robustcmr.training.devices import build_accelerator
    from robustcmr.training.trackers import tracking

    run = RunFolder(tmp_path)
    run.start("{}", {})
    run.tracking.write_text("a file where a folder should be")
    options = TrackingOptions(names=("tensorboard",))
    accelerator = build_accelerator("cpu", "fp32")
    with (
        pytest.raises(ConfigError, match="a tracker of tensorboard did not start: "),
        tracking(accelerator, options, run, {}, 0),
    ):
        pass
