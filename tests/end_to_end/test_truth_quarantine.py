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

from noise_injection import LabelNoiseRecord, NoiseRecord
from robustcmr.config.resolve import resolve
from robustcmr.data.base import LabelledData, PairsData
from robustcmr.evaluation.truth import FittingCells, HiddenTruth
from robustcmr.jobs.train import train
from robustcmr.methods import robust
from robustcmr.selection import divide_by_mixture
from robustcmr.tracks import labels, pairs
from robustcmr.tracks.build import build_track
from robustcmr.tracks.labels import HiddenLabels
from robustcmr.training.loop import Trainer
from robustcmr.training.scorer import TrainingSetScorer
from robustcmr.types import Division

SECRETS = (HiddenTruth, FittingCells, NoiseRecord, PairsData, pairs.PairsTrack)
SECRETS += (HiddenLabels, LabelNoiseRecord, LabelledData, labels.LabelsTrack)
RATIO = 0.4137  # a number that stands nowhere else
TRUTH = np.arange(200, dtype=np.int64) // 5
# both divide from the second epoch on, and find two groups whatever the evidence
L2RM = {"name": "l2rm", "warmup_epochs": 1, "mixture": "gaussian", "mass": 0.6, "epsilon": 0.1}
ROBUST = {
    **{"name": "robust", "warmup_epochs": 1, "warmup_extension": 0, "least_findable": 0.0},
}
DIVIDING = (L2RM, ROBUST)


@pytest.fixture(autouse=True)
def always_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    def divide(evidence: Any, reference: Any, threshold: float) -> Division:
        del reference
        return divide_by_mixture(evidence, "gaussian", threshold, always=True)

    monkeypatch.setattr(robust, "divide_by_reference", divide)


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
        if isinstance(item, SECRETS):
            found.append(type(item).__name__)
        if isinstance(item, torch.Tensor):
            item = item.detach().cpu().numpy()
        if isinstance(item, np.ndarray) and item.size and item.size % truth.size == 0:
            columns = item.reshape(len(truth), -1).T if len(item) == len(truth) else [item.ravel()]
            for column in columns:
                if np.array_equal(column, truth):
                    found.append("the truth")
                if wrong is not None and (np.array_equal(column, wrong) or np.array_equal(column, ~wrong)):
                    found.append("the wrong pairs")
        if isinstance(item, float) and item == RATIO:
            found.append("the noise ratio")
    return found


@pytest.fixture
def noisy(tiny_tree: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_tree, "noise": {"ratio": RATIO}}


@pytest.mark.parametrize("method", ["hinge", *DIVIDING], ids=["hinge", "l2rm", "robust"])
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
    if method in DIVIDING:
        assert fooled.pairs.read_bytes() == real.pairs.read_bytes()
        for mine, other in zip(real.read_metrics()[1:], fooled.read_metrics()[1:], strict=True):
            assert 0 < mine["suspected"] == other["suspected"] < 1  # there was a division
            assert 0 < mine["rematch_loss"] == other["rematch_loss"]  # and rematching
            assert mine["division"]["auroc"] != other["division"]["auroc"]
            assert mine["rematch"]["plan"] != other["rematch"]["plan"]


@pytest.mark.parametrize(
    "method", ["hinge", "infonce", "rce", *DIVIDING], ids=lambda m: m if isinstance(m, str) else m["name"]
)
def test_no_road_leads_to_the_truth(
    method: Any, noisy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = 2 if method in DIVIDING else 1
    noisy = {**noisy, "method": method, "training": {**noisy["training"], "epochs": epochs}}
    looked: list[str] = []
    methods = []
    take_step, judged, call = Trainer._take_step, Trainer._score_estimate, TrainingSetScorer.__call__
    track = pairs.PairsTrack.build(resolve(noisy))
    wrong = track.mismatched()

    def look(place: str, *handed: Any) -> None:
        for thing in handed:
            assert leaks(thing, TRUTH, wrong) == [], place
        looked.append(place)

    def look_then_step(self: Trainer, batches: Any) -> Any:
        if f"step of epoch {self.state.epoch}" not in looked:
            look(f"step of epoch {self.state.epoch}", self.method, self.matchers, batches, self.state.plan)
            look("data", self.track.training)
        methods[:] = [self.method]
        found = take_step(self, batches)
        if f"after step of epoch {self.state.epoch}" not in looked:
            look(f"after step of epoch {self.state.epoch}", self.method)
        return found

    def look_then_judge(self: Trainer, plan: Any) -> Any:
        look(f"plan of epoch {self.state.epoch}", plan, self.method)
        found = judged(self, plan)
        look(f"judged plan of epoch {self.state.epoch}", found, self.method)
        return found

    def look_then_score(self: TrainingSetScorer, evidence: Any, matcher: Any) -> Any:
        look("scorer", self, evidence, matcher)
        return call(self, evidence, matcher)

    monkeypatch.setattr(Trainer, "_take_step", look_then_step)
    monkeypatch.setattr(Trainer, "_score_estimate", look_then_judge)
    monkeypatch.setattr(TrainingSetScorer, "__call__", look_then_score)
    run = train(resolve(noisy), tmp_path / "run")
    look("finished", methods)
    assert {"step of epoch 0", "plan of epoch 0", "finished"} <= set(looked)
    if method in DIVIDING:
        assert {"plan of epoch 1", "step of epoch 1", "after step of epoch 1", "scorer"} <= set(looked)
        assert run.read_metrics()[1]["rematch_loss"] > 0


def test_the_look_sees_leaks(noisy: dict[str, Any]) -> None:
    """The walker itself: a method handed any of these would be caught."""
    track = pairs.PairsTrack.build(resolve(noisy))
    assert "PairsTrack" in leaks([lambda: track], TRUTH)
    assert "the truth" in leaks({"a": (torch.from_numpy(TRUTH),)}, TRUTH)
    assert "the noise ratio" in leaks(track.noise, TRUTH)
    assert "Precomputed" in leaks(functools.partial(track.data.fits, "train"), TRUTH)
    assert "FittingCells" in leaks(functools.partial(print, track._fitting), TRUTH)
    wrong = track.mismatched()
    assert wrong is not None
    method = torch.nn.Module()
    for belief in (wrong, ~wrong, (~wrong).astype(np.float32)):  # a belief that is the truth
        method.belief = torch.from_numpy(belief)
        assert leaks(method, TRUTH, wrong) == ["the wrong pairs"]
    method.belief = torch.from_numpy(wrong[::-1].copy())
    assert leaks(method, TRUTH, wrong) == []
    assert leaks(types.SimpleNamespace(inner=HiddenTruth(TRUTH)), TRUTH) == [
        "HiddenTruth",
        "the truth",
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


# corrects from the second epoch on
UOT_RCL = {"name": "uot_rcl", "warmup_epochs": 1}
LABEL_METHODS = pytest.mark.parametrize(
    "method",
    ["label_ce", "mrl", "dscmr", "nirnl", "rshnl", UOT_RCL],
    ids=lambda m: m if m is not UOT_RCL else "uot_rcl",
)


@pytest.fixture
def labelled(labelled_folder: Path) -> dict[str, Any]:
    return {
        "data": {"name": "labelled", "root": str(labelled_folder)},
        "matcher": {"name": "two_tower", "dim": 8, "hidden": [12]},
        "noise": {"ratio": RATIO},
        "training": {"epochs": 3, "batch_size": 16, "device": "cpu"},
    }


def labels_of(root: Path) -> np.ndarray:
    with np.load(root / "train.npz") as file:
        return np.asarray(file["label"], dtype=np.int64)


@pytest.mark.parametrize("protocol", ["shared", "per_modality"])
@LABEL_METHODS
def test_garbage_labels_change_no_bit(
    method: Any,
    protocol: str,
    labelled: dict[str, Any],
    tmp_path: Path,
    comparable_run: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = {**labelled, "method": method, "noise": {"ratio": RATIO, "protocol": protocol}}
    real = train(resolve(tree), tmp_path / "real")
    garbage = np.random.default_rng(5)

    def lie(true: np.ndarray, n_classes: int) -> HiddenLabels:
        return HiddenLabels(garbage.integers(0, n_classes, len(true)), n_classes)

    monkeypatch.setattr(labels, "HiddenLabels", lie)
    fooled = train(resolve(tree), tmp_path / "fooled")
    assert comparable_run(fooled.path)["weights"] == comparable_run(real.path)["weights"]
    assert fooled.labels.read_bytes() == real.labels.read_bytes()
    for mine, other in zip(real.read_metrics(), fooled.read_metrics(), strict=True):
        assert mine["dev"] == other["dev"]  # splits to measure on are no secret of training
    told = [run.read_results() for run in (real, fooled)]
    assert told[0]["noise_ratio_realised"] != told[1]["noise_ratio_realised"]  # type: ignore[index]
    judged = [found["findings"]["correction"] for found in told]  # type: ignore[index]
    assert judged[0]["corrected_accuracy"] != judged[1]["corrected_accuracy"]
    if method is UOT_RCL:
        for mine, other in zip(real.read_metrics()[1:], fooled.read_metrics()[1:], strict=True):
            assert mine["moved_mass"] > 0  # there was a correction
            assert mine["noise_rate"] == other["noise_rate"]
            assert mine["correction"]["given_accuracy"] != other["correction"]["given_accuracy"]


@LABEL_METHODS
def test_no_road_leads_to_the_true_labels(
    method: Any, labelled: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve({**labelled, "method": method, "training": {**labelled["training"], "epochs": 2}})
    track = build_track(config)
    truth = labels_of(Path(labelled["data"]["root"]))
    wrong = track.training.labels[:, 0] != truth  # type: ignore[attr-defined]
    assert 0.3 < wrong.mean() <= RATIO
    looked: set[str] = set()
    take_step, judged = Trainer._take_step, Trainer._score_estimate
    score, vectors = TrainingSetScorer.__call__, TrainingSetScorer.vectors

    def look(place: str, *handed: Any) -> None:
        for thing in handed:
            assert leaks(thing, truth, wrong) == [], place
        looked.add(place)

    def look_then_step(self: Trainer, batches: Any) -> Any:
        look(f"step of epoch {self.state.epoch}", self.method, self.matchers, batches, self.state.plan)
        look("data", self.track.training)
        return take_step(self, batches)

    def look_then_judge(self: Trainer, plan: Any) -> Any:
        look("plan", plan, self.method)
        found = judged(self, plan)
        look("judged plan", found, self.method)
        return found

    def look_then_score(self: TrainingSetScorer, evidence: Any, matcher: Any) -> Any:
        look("scorer", self, evidence, matcher)
        return score(self, evidence, matcher)

    def look_then_encode(self: TrainingSetScorer, matcher: Any) -> Any:
        look("scorer", self, matcher)
        found = vectors(self, matcher)
        look("vectors", found)
        return found

    monkeypatch.setattr(Trainer, "_take_step", look_then_step)
    monkeypatch.setattr(Trainer, "_score_estimate", look_then_judge)
    monkeypatch.setattr(TrainingSetScorer, "__call__", look_then_score)
    monkeypatch.setattr(TrainingSetScorer, "vectors", look_then_encode)
    train(config, tmp_path / "run")
    assert looked >= {"step of epoch 0", "step of epoch 1", "data", "plan", "judged plan", "vectors"}


def test_the_look_sees_labels_that_leak(labelled: dict[str, Any]) -> None:
    track = build_track(resolve({**labelled, "method": "label_ce"}))
    truth = labels_of(Path(labelled["data"]["root"]))
    wrong = track.training.labels[:, 0] != truth  # type: ignore[attr-defined]
    assert leaks(track.training, truth, wrong) == []
    assert {"LabelsTrack", "HiddenLabels", "Labelled", "the noise ratio"} <= set(
        leaks([lambda: track], truth)
    )
    both = np.stack([truth[::-1], truth], axis=1)
    assert leaks({"a": torch.from_numpy(both)}, truth) == ["the truth"]
    assert leaks(torch.from_numpy(~wrong), truth, wrong) == ["the wrong pairs"]
