"""The training loop by itself: what it remembers, which epoch it keeps, and how it ends."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from robustcmr.config.resolve import resolve
from robustcmr.errors import CheckpointError, TrainingDivergedError
from robustcmr.jobs.open import build_matchers, build_method
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.build import build_track
from robustcmr.training.checkpoint import load_state, save_checkpoint
from robustcmr.training.devices import build_accelerator
from robustcmr.training.interrupt import TrainingStopped
from robustcmr.training.loop import Trainer
from robustcmr.training.seeds import seed_everything
from robustcmr.types import EpochPlan, StepResult

STEPS = 12  # 200 pairs in batches of 16


@pytest.fixture
def make(tiny_tree: dict[str, Any], tmp_path: Path) -> Callable[..., Trainer]:
    """A trainer of the run in a folder, as a process of its own would build it."""

    def build(folder: str = "run", **changes: Any) -> Trainer:
        config = resolve({**tiny_tree, **changes})
        accelerator = build_accelerator("cpu", "fp32")
        track = build_track(config)
        seed_everything(0)
        matchers = build_matchers(config, track.spec, accelerator)
        method = build_method(config, track, matchers, accelerator)
        run, console = RunFolder(tmp_path / folder), Console(quiet=True)
        return Trainer(config.settings, track, matchers, method, accelerator, run, console)

    return build


def ignore(row: Any) -> None:
    """Take no notice of an epoch."""


def test_nothing_but_the_saved_parts_changes_while_training(make: Callable[..., Trainer]) -> None:
    """An attribute that training rebinds must be in the state record, or it would be forgotten."""
    trainer = make()
    before = dict(vars(trainer))
    trainer.fit(ignore)
    changed = {name for name, value in vars(trainer).items() if before.get(name) is not value}
    assert changed <= {"modules", "_clock", "_saved_at"}  # a cache and clocks
    plain = (int, float, str, bool, type(None), list, dict)
    kept = {name for name, value in before.items() if isinstance(value, plain)}
    assert kept <= {"matchers", "warm_up", "_clock", "_saved_at"}  # networks, off, clocks


def test_a_restored_trainer_is_the_one_that_was_saved(make: Callable[..., Trainer]) -> None:
    trainer = make()
    take_step = trainer._take_step

    def stop_within_the_second_epoch(batches: Any) -> Any:
        if trainer.state.global_step == STEPS + 5:
            trainer.scores.load_state_dict({"found": {"division": {"auroc": 0.5}}, "rematch": None})
            raise TrainingStopped(15)
        return take_step(batches)

    trainer._take_step = stop_within_the_second_epoch  # type: ignore[method-assign]
    with pytest.raises(TrainingStopped):
        trainer.fit(ignore)
    again = make()
    again.restore()
    assert (again.state.epoch, again.state.step, again.state.global_step) == (1, 5, STEPS + 5)
    for field in dataclasses.fields(trainer.state):
        mine, other = getattr(again.state, field.name), getattr(trainer.state, field.name)
        if field.name == "plan":
            assert {name: ids.tolist() for name, ids in mine.groups.items()} == {
                name: ids.tolist() for name, ids in other.groups.items()
            }
        else:
            assert mine == other, field.name
    assert again.scores.state_dict() == trainer.scores.state_dict()
    for name, module in trainer.modules.items():
        for key, value in module.state_dict().items():
            assert torch.equal(again.modules[name].state_dict()[key], value)
    assert again.run.read_metrics() == trainer.state.rows


def test_the_best_epoch_is_the_first_with_the_highest_score(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make()
    scores = iter([1.0, 3.0, 3.0])
    monkeypatch.setattr(trainer.track, "selection_score", lambda measured: next(scores))
    seen: list[Any] = []
    trainer.fit(seen.append)
    assert trainer.state.best == {"epoch": 2, "score": 3.0}
    assert load_state(trainer.run.checkpoint("best")) == {"best": {"epoch": 2, "score": 3.0}}
    assert trainer.best_row == trainer.state.rows[1]
    assert seen == trainer.state.rows == trainer.run.read_metrics()
    assert [row["epoch"] for row in seen] == [1, 2, 3]


def test_rows_are_means_over_steps(make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(training={"epochs": 1, "batch_size": 16, "device": "cpu"})
    losses: list[float] = []
    step = trainer.method.training_step

    def noted(batches: Any) -> StepResult:
        result = step(batches)
        losses.append(float(result.loss.detach()))
        return dataclasses.replace(result, metrics={"number": len(losses)})

    monkeypatch.setattr(trainer.method, "training_step", noted)
    trainer.fit(ignore)
    (row,) = trainer.state.rows
    assert row["loss"] == pytest.approx(sum(losses) / STEPS, rel=1e-12)
    assert row["number"] == (STEPS + 1) / 2
    assert (row["steps"], row["pairs_seen"]) == (STEPS, STEPS * 16)


def test_captions_learn_with_the_images_of_the_plan(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(training={"epochs": 1, "batch_size": 16, "device": "cpu"})
    everywhere = np.full(len(trainer.track.training), 3)  # all captions get the image of pair 3
    plan, step = trainer.method.plan_epoch, trainer.method.training_step
    alike: list[bool] = []

    def noted(batches: Any) -> StepResult:
        alike.extend(bool(batch.same_image.all()) for batch in batches.values())
        return step(batches)

    def planned(*args: Any) -> EpochPlan:
        return dataclasses.replace(plan(*args), image_from=everywhere)

    monkeypatch.setattr(trainer.method, "plan_epoch", planned)
    monkeypatch.setattr(trainer.method, "training_step", noted)
    trainer.fit(ignore)
    assert alike == [True] * STEPS


def test_the_rate_falls_from_step_to_step(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(optim={"lr": 0.003, "schedule": "cosine", "warmup_steps": 4})
    rates: list[float] = []
    step = trainer.optimiser.step

    def noted(*args: Any) -> Any:
        rates.append(trainer.optimiser.param_groups[0]["lr"])
        return step(*args)

    monkeypatch.setattr(trainer.optimiser, "step", noted)
    trainer.fit(ignore)
    taken = torch.arange(3 * STEPS, dtype=torch.float64)
    expected = 0.0015 * (1 + torch.cos(torch.pi * taken / (3 * STEPS))) * ((taken + 1) / 4).clamp(max=1)
    assert rates == pytest.approx(expected.tolist(), rel=1e-12)
    assert [row["lr"] for row in trainer.state.rows] == pytest.approx(
        [0.0015 * (1 + math.cos(math.pi * done / 3)) for done in (1, 2, 3)], abs=1e-15
    )


def test_every_network_is_clipped_by_itself(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(method={"name": "rce"}, optim={"lr": 0.003, "clip": 0.25})
    sizes: list[list[float]] = []
    step = trainer.optimiser.step

    def noted(*args: Any) -> Any:
        norms = [
            torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm()
            for module in trainer.modules.values()
        ]
        sizes.append([float(norm) for norm in norms])
        return step(*args)

    monkeypatch.setattr(trainer.optimiser, "step", noted)
    trainer.fit(ignore)
    assert len(sizes) == 3 * STEPS
    assert all(size <= 0.25 + 1e-6 for step_sizes in sizes for size in step_sizes)
    assert max(size for step_sizes in sizes for size in step_sizes) == pytest.approx(0.25, rel=1e-5)


def test_a_loss_that_is_not_finite_ends_training(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make()
    step = trainer.method.training_step

    def diverging(batches: Any) -> StepResult:
        result = step(batches)
        return StepResult(result.loss * float("nan")) if trainer.state.step == 4 else result

    monkeypatch.setattr(trainer.method, "training_step", diverging)
    with pytest.raises(TrainingDivergedError, match=r"became nan in epoch 1, step 5, on pairs \["):
        trainer.fit(ignore)
    found = json.loads(trainer.run.diverged.read_text())
    assert (found["epoch"], found["step"], found["loss"]) == (0, 4, "nan")
    assert len(found["pair_ids"]["all"]) == 16
    assert not trainer.run.checkpoint("last").exists()


def test_a_checkpoint_that_does_not_fit_is_refused(make: Callable[..., Trainer]) -> None:
    trainer = make()
    trainer.save()
    saved = load_state(trainer.run.checkpoint("last"))
    del saved["training"]["rows"]
    save_checkpoint(trainer.run.checkpoint("last"), trainer.modules, saved)
    with pytest.raises(CheckpointError, match=r"does not fit this run: .*unknown fields: rows"):
        make().restore()


def test_without_a_checkpoint_training_starts_afresh(make: Callable[..., Trainer]) -> None:
    trainer = make()
    trainer.restore()
    assert trainer.state.global_step == 0
    assert trainer.best_row == {}


TWO_PIECES = {"name": "crcl", "warmup_epochs": 1, "pieces": [0]}  # the second begins with the second epoch


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Copies of all weights."""
    return {
        f"{name}.{key}": value.clone()
        for name, module in trainer.modules.items()
        for key, value in module.state_dict().items()
    }


def test_a_restart_returns_to_the_first_weights(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(method=TWO_PIECES, optim={"lr": 0.003, "schedule": "cosine", "warmup_steps": 4})
    first, seen, rates = weights_of(trainer), [], []
    step, update = trainer.method.training_step, trainer.optimiser.step

    def noted(batches: Any) -> StepResult:
        if trainer.state.step == 0:
            seen.append((weights_of(trainer), len(trainer.optimiser.state)))
        return step(batches)

    def rate_noted(*args: Any) -> Any:
        rates.append(trainer.optimiser.param_groups[0]["lr"])
        return update(*args)

    monkeypatch.setattr(trainer.method, "training_step", noted)
    monkeypatch.setattr(trainer.optimiser, "step", rate_noted)
    trainer.fit(ignore)
    (_, no_state), (again, none_left), (third, some) = seen
    assert no_state == none_left == 0 < some
    assert all(torch.equal(again[key], value) for key, value in first.items())
    assert not all(torch.equal(third[key], value) for key, value in first.items())
    taken = torch.arange(2 * STEPS, dtype=torch.float64)
    warm = ((taken + 1) / 4).clamp(max=1)
    expected = 0.0015 * (1 + torch.cos(torch.pi * taken / (2 * STEPS))) * warm  # over what is left
    assert rates[STEPS:] == pytest.approx(expected.tolist(), rel=1e-12)
    assert (trainer.state.first_epoch, trainer.state.first_step) == (1, STEPS)


def test_only_epochs_since_the_restart_can_be_the_best(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(method=TWO_PIECES)
    scores = iter([5.0, 1.0, 3.0])
    monkeypatch.setattr(trainer.track, "selection_score", lambda measured: next(scores))
    trainer.fit(ignore)
    assert trainer.state.best == {"epoch": 3, "score": 3.0}
    assert [row.get("restarted") for row in trainer.state.rows] == [None, 2, 2]
    assert load_state(trainer.run.checkpoint("best")) == {"best": {"epoch": 3, "score": 3.0}}


@pytest.mark.parametrize("stop", [5, STEPS + 5])
def test_a_run_of_pieces_is_resumed_to_the_same_numbers(make: Callable[..., Trainer], stop: int) -> None:
    """Stopped before or after the restart, by a process whose fresh weights would be others."""
    whole = make("whole", method=TWO_PIECES)
    whole.fit(ignore)
    trainer = make("stopped", method=TWO_PIECES)
    take_step = trainer._take_step

    def stopping(batches: Any) -> Any:
        if trainer.state.global_step == stop:
            raise TrainingStopped(15)
        return take_step(batches)

    trainer._take_step = stopping  # type: ignore[method-assign]
    with pytest.raises(TrainingStopped):
        trainer.fit(ignore)
    again = make("stopped", method=TWO_PIECES)
    with torch.no_grad():
        for matcher in again.matchers:
            for parameter in matcher.parameters():
                parameter.mul_(2)
    again.restore()
    again.fit(ignore)
    expected = weights_of(whole)
    assert all(torch.equal(value, expected[key]) for key, value in weights_of(again).items())
    clocks = {"seconds", "pairs_per_second"}
    mine, others = (
        [{key: value for key, value in row.items() if key not in clocks} for row in each.state.rows]
        for each in (again, whole)
    )
    assert mine == others
    assert again.state.best == whole.state.best


def test_first_weights_are_kept_only_for_a_method_that_restarts(make: Callable[..., Trainer]) -> None:
    trainer = make()
    trainer.fit(ignore)
    assert not trainer.run.checkpoint("first").exists()
