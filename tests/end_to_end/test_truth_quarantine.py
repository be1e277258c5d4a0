"""The truth never reaches what is trained: garbage in its place changes no bit, and no road leads to it."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from noise_injection import NoiseRecord
from robustcmr.config.resolve import resolve
from robustcmr.evaluation.truth import HiddenTruth
from robustcmr.run import train
from robustcmr.tracks import pairs
from robustcmr.training.loop import Trainer

RATIO = 0.4137  # a number that stands nowhere else


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
        if isinstance(item, types.FunctionType):
            todo.extend(cell.cell_contents for cell in item.__closure__ or ())
        if hasattr(item, "__dict__"):
            todo.extend(vars(item).values())
        if dataclasses.is_dataclass(item):
            todo.extend(getattr(item, field.name) for field in dataclasses.fields(item))


def leaks(start: Any, truth: np.ndarray) -> list[str]:
    """What gives the truth or the noise away among all that can be reached."""
    found = []
    for item in reachable(start):
        if isinstance(item, HiddenTruth | NoiseRecord | pairs.PairsTrack):
            found.append(type(item).__name__)
        if isinstance(item, torch.Tensor):
            item = item.detach().cpu().numpy()
        if isinstance(item, np.ndarray) and item.shape == truth.shape and np.array_equal(item, truth):
            found.append("the true pairing")
        if isinstance(item, float) and item == RATIO:
            found.append("the noise ratio")
    return found


@pytest.fixture
def noisy(tiny_tree: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_tree, "noise": {"ratio": RATIO}}


def test_garbage_truth_changes_no_bit(
    noisy: dict[str, Any], tmp_path: Path, comparable_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = train(resolve(noisy), tmp_path / "real")
    garbage = np.random.default_rng(5)

    def lie(image_of_caption: np.ndarray) -> HiddenTruth:
        return HiddenTruth(garbage.permutation(image_of_caption))

    monkeypatch.setattr(pairs, "HiddenTruth", lie)
    fooled = train(resolve(noisy), tmp_path / "fooled")
    assert comparable_run(fooled.path)["weights"] == comparable_run(real.path)["weights"]
    told = [run.read_results()["noise_ratio_realised"] for run in (real, fooled)]  # type: ignore[index]
    assert told[0] != told[1]  # the lie did reach the side that may know


@pytest.mark.parametrize("method", ["hinge", "infonce", "rce"])
def test_no_road_leads_to_the_truth(
    method: str, noisy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = {**noisy, "method": method, "training": {**noisy["training"], "epochs": 1}}
    checked = []
    original = Trainer._take_step
    truth = np.arange(200, dtype=np.int64) // 5

    def look_then_step(self: Trainer, batches: Any) -> Any:
        if not checked:
            for handed in (self.method, self.matchers, batches, self.plan, self.track.training):
                assert leaks(handed, truth) == []
            checked.append(True)
        return original(self, batches)

    monkeypatch.setattr(Trainer, "_take_step", look_then_step)
    train(resolve(noisy), tmp_path / "run")
    assert checked


def test_the_look_sees_leaks(noisy: dict[str, Any]) -> None:
    """The walker itself: a method handed any of these would be caught."""
    truth = np.arange(200, dtype=np.int64) // 5
    track = pairs.PairsTrack.build(resolve(noisy))
    assert "PairsTrack" in leaks([lambda: track], truth)
    assert "the true pairing" in leaks({"a": (torch.from_numpy(truth),)}, truth)
    assert "the noise ratio" in leaks(track.noise, truth)
    assert leaks(types.SimpleNamespace(inner=HiddenTruth(truth)), truth) == [
        "HiddenTruth",
        "the true pairing",
    ]


def test_given_pairs_are_the_noisy_ones(noisy: dict[str, Any]) -> None:
    """The quarantine must not hold by training on clean pairs."""
    track = pairs.PairsTrack.build(resolve(noisy))
    given = track.training.correspondence.image_of_caption
    truth = np.arange(200, dtype=np.int64) // 5
    assert (given != truth).mean() == pytest.approx(track.noise.ratio_realised)
    assert 0.35 < (given != truth).mean() <= RATIO
    ids = np.flatnonzero(given != truth)[:7]
    batch = track.training.batch(ids)
    features = np.load(noisy["data"]["root"] + "/train_ims.npy")
    np.testing.assert_array_equal(batch.images.features.numpy(), features[given[ids]])
