"""The truth never reaches what is trained: garbage in its place changes no bit, and no road leads to it."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from noise_injection import NoiseRecord
from robustcmr.config.resolve import resolve
from robustcmr.data.base import PairsData
from robustcmr.evaluation.truth import FittingCells, HiddenTruth
from robustcmr.run import train
from robustcmr.tracks import pairs
from robustcmr.training.loop import Trainer
from robustcmr.training.scorer import TrainingSetScorer

RATIO = 0.4137  # a number that stands nowhere else
TRUTH = np.arange(200, dtype=np.int64) // 5
# divides from the second epoch on, and finds two groups whatever the evidence
L2RM = {
    "name": "l2rm",
    "warmup_epochs": 1,
    "agreement_epoch": 1,
    "mixture": "gaussian",
    "always_divide": True,
    "mass": 0.6,
    "epsilon": 0.1,
}


def reachable(start: Any) -> Iterator[Any]:
    """Everything that can be reached from an object through its attributes, items and closures."""
    seen: set[int] = set()
    todo = [start]
    keep = []  # ids stay valid only while their objects live
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, type | types.ModuleType):
            continue
        seen.add(id(item))
        keep.append(item)
        yield item
        if isinstance(item, Mapping):
            todo.extend(item.keys())
            todo.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            todo.extend(item)
        if isinstance(item, types.MethodType):
            todo.extend((item.__self__, item.__func__))
        if isinstance(item, functools.partial):
            todo.extend((item.func, item.args, item.keywords))
        if isinstance(item, types.FunctionType):
            todo.extend(cell.cell_contents for cell in item.__closure__ or ())
        if hasattr(item, "__dict__"):
            todo.extend(vars(item).values())
        if dataclasses.is_dataclass(item):
            todo.extend(getattr(item, field.name) for field in dataclasses.fields(item))


def leaks(start: Any, truth: np.ndarray, wrong: np.ndarray | None = None) -> list[str]:
    """What gives the truth or the noise away among all that can be reached."""
    found = []
    for item in reachable(start):
        if isinstance(item, HiddenTruth | FittingCells | NoiseRecord | PairsData | pairs.PairsTrack):
            found.append(type(item).__name__)
        if isinstance(item, torch.Tensor):
            item = item.detach().cpu().numpy()
        if isinstance(item, np.ndarray) and item.shape == truth.shape and np.array_equal(item, truth):
            found.append("the true pairing")
        if isinstance(item, np.ndarray) and wrong is not None and item.shape == wrong.shape:
            told = [np.array_equal(item, wrong), np.array_equal(item, ~wrong)]
            found.extend(["the mismatched pairs"] * any(told))
        if isinstance(item, float) and item == RATIO:
            found.append("the noise ratio")
    return found


@pytest.fixture
def noisy(tiny_tree: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_tree, "noise": {"ratio": RATIO}}


@pytest.mark.parametrize("method", ["hinge", L2RM], ids=["hinge", "l2rm"])
def test_garbage_truth_changes_no_bit(
    method: Any,
    noisy: dict[str, Any],
    tmp_path: Path,
    comparable_run: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noisy = {**noisy, "method": method}
    real = train(resolve(noisy), tmp_path / "real")
    garbage = np.random.default_rng(5)

    def lie(image_of_caption: np.ndarray) -> HiddenTruth:
        return HiddenTruth(garbage.permutation(image_of_caption))

    def lie_of_cells(self: PairsData, split: str, caption_row: int, images: np.ndarray) -> np.ndarray:
        return garbage.random(len(images)) < 0.5

    monkeypatch.setattr(pairs, "HiddenTruth", lie)
    monkeypatch.setattr(PairsData, "fits", lie_of_cells)
    fooled = train(resolve(noisy), tmp_path / "fooled")
    assert comparable_run(fooled.path)["weights"] == comparable_run(real.path)["weights"]
    told = [run.read_results()["noise_ratio_realised"] for run in (real, fooled)]  # type: ignore[index]
    assert told[0] != told[1]  # the lie did reach the side that may know
    if method is L2RM:
        assert fooled.pairs.read_bytes() == real.pairs.read_bytes()
        for mine, other in zip(real.read_metrics()[1:], fooled.read_metrics()[1:], strict=True):
            assert 0 < mine["suspected"] == other["suspected"] < 1  # there was a division
            assert 0 < mine["rematch_loss"] == other["rematch_loss"]  # and rematching
            assert mine["division"]["auroc"] != other["division"]["auroc"]
            assert mine["rematch"]["plan"] != other["rematch"]["plan"]


@pytest.mark.parametrize(
    "method", ["hinge", "infonce", "rce", L2RM], ids=lambda m: m if m is not L2RM else "l2rm"
)
def test_no_road_leads_to_the_truth(
    method: Any, noisy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = 1 if method is not L2RM else 2
    noisy = {**noisy, "method": method, "training": {**noisy["training"], "epochs": epochs}}
    looked: list[str] = []
    methods = []
    take_step, judged, call = Trainer._take_step, Trainer._judged, TrainingSetScorer.__call__
    track = pairs.PairsTrack.build(resolve(noisy))
    wrong = track.mismatched()

    def look(place: str, *handed: Any) -> None:
        for thing in handed:
            assert leaks(thing, TRUTH, wrong) == [], place
        looked.append(place)

    def look_then_step(self: Trainer, batches: Any) -> Any:
        if f"step of epoch {self.epoch}" not in looked:
            look(f"step of epoch {self.epoch}", self.method, self.matchers, batches, self.plan)
            look("data", self.track.training)
        methods[:] = [self.method]
        found = take_step(self, batches)
        if f"after step of epoch {self.epoch}" not in looked:
            look(f"after step of epoch {self.epoch}", self.method)
        return found

    def look_then_judge(self: Trainer, plan: Any) -> Any:
        look(f"plan of epoch {self.epoch}", plan, self.method)
        found = judged(self, plan)
        look(f"judged plan of epoch {self.epoch}", found, self.method)
        return found

    def look_then_score(self: TrainingSetScorer, evidence: Any, matcher: Any) -> Any:
        look("scorer", self, evidence, matcher)
        return call(self, evidence, matcher)

    monkeypatch.setattr(Trainer, "_take_step", look_then_step)
    monkeypatch.setattr(Trainer, "_judged", look_then_judge)
    monkeypatch.setattr(TrainingSetScorer, "__call__", look_then_score)
    run = train(resolve(noisy), tmp_path / "run")
    look("finished", methods)
    assert {"step of epoch 0", "plan of epoch 0", "finished"} <= set(looked)
    if method is L2RM:
        assert {"plan of epoch 1", "step of epoch 1", "after step of epoch 1", "scorer"} <= set(looked)
        assert run.read_metrics()[1]["rematch_loss"] > 0


def test_the_look_sees_leaks(noisy: dict[str, Any]) -> None:
    """The walker itself: a method handed any of these would be caught."""
    track = pairs.PairsTrack.build(resolve(noisy))
    assert "PairsTrack" in leaks([lambda: track], TRUTH)
    assert "the true pairing" in leaks({"a": (torch.from_numpy(TRUTH),)}, TRUTH)
    assert "the noise ratio" in leaks(track.noise, TRUTH)
    assert "Precomputed" in leaks(functools.partial(track.data.fits, "train"), TRUTH)
    assert "FittingCells" in leaks(functools.partial(print, track._fitting), TRUTH)
    wrong = track.mismatched()
    assert wrong is not None
    method = torch.nn.Module()
    for belief in (wrong, ~wrong, (~wrong).astype(np.float32)):  # a belief that is the truth
        method.belief = torch.from_numpy(belief)
        assert leaks(method, TRUTH, wrong) == ["the mismatched pairs"]
    method.belief = torch.from_numpy(wrong[::-1].copy())
    assert leaks(method, TRUTH, wrong) == []
    assert leaks(types.SimpleNamespace(inner=HiddenTruth(TRUTH)), TRUTH) == [
        "HiddenTruth",
        "the true pairing",
    ]


def test_given_pairs_are_the_noisy_ones(noisy: dict[str, Any]) -> None:
    """The quarantine must not hold by training on clean pairs."""
    track = pairs.PairsTrack.build(resolve(noisy))
    given = track.training.correspondence.image_of_caption
    assert (given != TRUTH).mean() == pytest.approx(track.noise.ratio_realised)
    assert 0.35 < (given != TRUTH).mean() <= RATIO
    ids = np.flatnonzero(given != TRUTH)[:7]
    batch = track.training.batch(ids)
    features = np.load(noisy["data"]["root"] + "/train_ims.npy")
    np.testing.assert_array_equal(batch.images.features.numpy(), features[given[ids]])
