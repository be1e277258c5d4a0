"""The state of a training: every field survives a checkpoint, and none can be left out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustcmr.training.checkpoint import load_state, save_checkpoint
from robustcmr.training.state import TrainingState, from_version_0_1
from robustcmr.types import EpochPlan

GROUPS = {"clean": np.array([4, 1]), "noisy": np.array([0])}
VALUES: dict[str, Any] = {
    "epoch": 3,
    "step": 14,
    "global_step": 59,
    "first_epoch": 2,
    "first_step": 40,
    "plan": EpochPlan(GROUPS, {"suspected": 0.25}, image_from=np.array([3, 1, 2, 3, 0])),
    "sums": {"loss": 2.5, "steps": 14.0},
    "scores": {"found": {"division": {"auroc": 0.5}}, "rematch": {"mass": 1.5}},
    "epoch_seconds": 1.25,
    "seconds": 77.5,
    "rows": [{"epoch": 1, "dev": {"rsum": 1.0}}],
    "best": {"epoch": 1, "score": 1.0},
}


def check_equal(found: TrainingState, expected: dict[str, Any]) -> None:
    for field in dataclasses.fields(TrainingState):
        mine, other = getattr(found, field.name), expected[field.name]
        if isinstance(other, EpochPlan):
            assert mine.metrics == other.metrics
            assert mine.groups.keys() == other.groups.keys()
            for name, ids in other.groups.items():
                assert mine.groups[name].dtype == np.int64
                np.testing.assert_array_equal(mine.groups[name], ids)
            assert (mine.image_from is None) == (other.image_from is None)
            if other.image_from is not None:
                assert mine.image_from.dtype == np.int64
                np.testing.assert_array_equal(mine.image_from, other.image_from)
        else:
            assert mine == other, field.name


def test_every_field_survives_a_checkpoint(tmp_path: Path) -> None:
    assert VALUES.keys() == {field.name for field in dataclasses.fields(TrainingState)}
    fresh = TrainingState()
    assert all(VALUES[name] != getattr(fresh, name) for name in VALUES)
    save_checkpoint(tmp_path / "last", {}, {"training": TrainingState(**VALUES).to_dict()})
    check_equal(TrainingState.from_dict(load_state(tmp_path / "last")["training"]), VALUES)


def test_a_fresh_state_survives_too(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", {}, {"training": TrainingState().to_dict()})
    assert TrainingState.from_dict(load_state(tmp_path / "last")["training"]) == TrainingState()


@pytest.mark.parametrize("name", sorted(VALUES.keys() - {"first_epoch", "first_step"}))
def test_a_missing_field_is_refused(name: str) -> None:
    values = TrainingState().to_dict()
    del values[name]
    with pytest.raises(ValueError, match=f"missing or unknown fields: {name}"):
        TrainingState.from_dict(values)


def test_a_state_from_before_there_were_restarts_is_read() -> None:
    values = TrainingState(**VALUES).to_dict()
    del values["first_epoch"], values["first_step"]
    check_equal(TrainingState.from_dict(values), {**VALUES, "first_epoch": 0, "first_step": 0})


def test_a_plan_whose_captions_keep_their_images_is_read() -> None:
    """As are all plans written before captions could learn with other images."""
    kept = {**VALUES, "plan": EpochPlan(GROUPS, {"suspected": 0.25})}
    values = TrainingState(**kept).to_dict()
    check_equal(TrainingState.from_dict(values), kept)
    del values["plan"]["image_from"]
    check_equal(TrainingState.from_dict(values), kept)


@pytest.mark.parametrize("wrong", [[3, 1], np.array([3, 1]), torch.tensor([3.0, 1.0])])
@pytest.mark.parametrize("place", ["groups", "image_from"])
def test_pair_ids_of_another_type_are_refused(place: str, wrong: Any) -> None:
    values = TrainingState(**VALUES).to_dict()
    values["plan"][place] = {"clean": wrong} if place == "groups" else wrong
    with pytest.raises(ValueError, match="the plan of its epoch holds no pair ids"):
        TrainingState.from_dict(values)


def test_a_restart_forgets_the_best_epoch_alone() -> None:
    state = TrainingState(**VALUES)
    state.restart()
    check_equal(state, {**VALUES, "first_epoch": 3, "first_step": 59, "best": None})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="missing or unknown fields: momentum"):
        TrainingState.from_dict({**TrainingState().to_dict(), "momentum": 1})


def test_the_next_epoch_keeps_the_history() -> None:
    state = TrainingState(**VALUES)
    state.next_epoch()
    moved = {"epoch": 4, "step": 0, "plan": None, "sums": {}, "epoch_seconds": 0.0}
    check_equal(state, {**VALUES, **moved})


def test_metrics_of_steps_are_added() -> None:
    state = TrainingState()
    state.add({"loss": 1.5, "steps": 1})
    state.add({"loss": 2.0, "steps": 1, "mass": 0.5})
    assert state.sums == {"loss": 3.5, "steps": 2.0, "mass": 0.5}


def test_a_checkpoint_of_version_0_1_is_read() -> None:
    plan = TrainingState(**VALUES).to_dict()["plan"]
    saved = {
        "position": {"epoch": 3, "step": 14, "global_step": 59},
        "plan": {"streams": plan["groups"], "metrics": plan["metrics"]},
        "sums": VALUES["sums"],
        "rematch_sums": {"mass": 1.5},
        "diagnosis": {"division": {"auroc": 0.5}},
        "epoch_seconds": 1.25,
        "seconds": 77.5,
        "rows": VALUES["rows"],
        "best": VALUES["best"],
        "optimiser": {},
    }
    kept = EpochPlan(GROUPS, {"suspected": 0.25})  # there were no images of other pairs
    expected = {**VALUES, "plan": kept, "first_epoch": 0, "first_step": 0}
    check_equal(TrainingState.from_dict(from_version_0_1(saved)), expected)
    between = from_version_0_1({**saved, "plan": None, "rematch_sums": {}, "diagnosis": {}})
    assert (between["plan"], between["scores"]) == (None, {"found": {}, "rematch": None})


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": "3"},
        {"step": -1},
        {"first_epoch": -1},
        {"seconds": None},
        {"sums": []},
        {"sums": {"loss": "x"}},
        {"rows": [None]},
        {"rows": [{"epoch": 0}]},
        {"best": {"epoch": 1}},
        {"plan": {"groups": {"all": [1, 2]}, "metrics": {}}},
        {"plan": {"groups": [], "metrics": {}}},
    ],
)
def test_fields_of_another_type_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        TrainingState.from_dict({**TrainingState(**VALUES).to_dict(), **changes})
