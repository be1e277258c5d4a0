"""A track moves its training features to the requested place, and training gives the same numbers."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from robustcmr.config.resolve import resolve
from robustcmr.data import pairs as pairs_module
from robustcmr.data.in_memory_features import InMemoryFeatures
from robustcmr.errors import ConfigError
from robustcmr.tracks.build import build_track
from robustcmr.tracks.pairs import PairsTrack
from robustcmr.training.batches import EpochBatches, step_ids
from robustcmr.training.scorer import TrainingSetScorer
from robustcmr.types import EpochPlan, PairBatch

CPU = torch.device("cpu")
STORES = ["auto", "disk", "memory", "device"]


def placed(tree: dict[str, Any], store: str, half: bool = False, **options: Any) -> Any:
    training = {**tree["training"], "store": store, "half_features": half, **options}
    track = build_track(resolve({**tree, "training": training}))
    track.place_training(CPU)
    return track


def tensors(batch: PairBatch) -> list[torch.Tensor]:
    found = [batch.images.features, batch.images.mask, batch.texts.tokens, batch.texts.mask]
    found += [batch.pair_ids, batch.same_image]
    return found + [part for part in (batch.texts.vectors, batch.labels) if part is not None]


def epoch(track: Any, workers: int = 0) -> list[list[torch.Tensor]]:
    ids = np.arange(len(track.training), dtype=np.int64)
    steps = step_ids(EpochPlan({"all": ids}), 16, 1, 0)
    return [tensors(b["all"]) for b in EpochBatches(track.training, steps, 1, 0).from_step(0, workers)]


@pytest.fixture
def tree(tiny_tree: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_tree, "augmentation": {"drop_regions": 0.5, "corrupt_words": 0.5}}


@pytest.fixture
def with_vectors(tree: dict[str, Any]) -> dict[str, Any]:
    root = resolve(tree).data.options.root  # type: ignore[attr-defined]
    rng = np.random.default_rng(3)
    for split in ("train", "dev", "test"):
        n = len((root / f"{split}_caps.txt").read_text().splitlines())
        np.save(root / f"{split}_txts.npy", rng.normal(size=(n, 6)).astype(np.float32))
    return tree


@pytest.mark.parametrize("store", STORES[1:])
def test_the_same_batches_from_every_store(with_vectors: dict[str, Any], store: str) -> None:
    track, plain = placed(with_vectors, store), build_track(resolve(with_vectors))
    assert isinstance(track.training.images, InMemoryFeatures) == (store != "disk")
    found, expected = epoch(track), epoch(plain)
    assert len(found) == len(expected) == 12
    assert len(found[0]) == 7
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_loader_processes_read_the_same(with_vectors: dict[str, Any]) -> None:
    track = placed(with_vectors, "memory", workers=2)
    for ours, theirs in zip(epoch(track, 2), epoch(track), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("store", STORES)
def test_half_precision_is_close_and_the_same_in_every_store(tree: dict[str, Any], store: str) -> None:
    half, exact = placed(tree, store, half=True), placed(tree, "disk")
    for ours, theirs in zip(epoch(half), epoch(exact), strict=True):
        torch.testing.assert_close(ours[0], theirs[0], rtol=2**-11, atol=1e-7)
        assert torch.equal(ours[0], theirs[0].half().float())
        assert all(torch.equal(a, b) for a, b in zip(ours[1:], theirs[1:], strict=True))


def scores(track: PairsTrack, seen: list[list[int]]) -> np.ndarray:
    torch.manual_seed(0)
    config = track.config  # type: ignore[attr-defined]
    matcher = config.matcher.cls(config.matcher.options, track.spec)

    def hardest(scores: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        seen.append(batch.pair_ids.tolist())
        return scores.masked_fill(batch.same_image, -9.0).amax(1) - scores.diagonal()

    return TrainingSetScorer(track.training, 16, CPU, seed=4, epoch=0)(hardest, matcher)


def test_the_division_pass_does_not_depend_on_the_store(
    with_vectors: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs_module, "STRETCH_BYTES", 3 * 4 * 3 * 8)  # three images
    monkeypatch.setattr(pairs_module, "WINDOW_BYTES", 12 * 4 * 3 * 8)  # twelve of forty
    found, orders = [], []
    for store in STORES[1:]:
        track = placed(with_vectors, store)
        track.config = resolve(with_vectors)
        orders.append([])
        found.append(scores(track, orders[-1]))
    assert orders[0] == orders[1] == orders[2]
    assert sorted(i for ids in orders[0] for i in ids) == list(range(200))
    given = track.training.correspondence.image_of_caption
    windows = [np.concatenate(orders[0][first : first + 4]) for first in range(0, 12, 4)]
    assert all(len(np.unique(given[ids])) <= 20 for ids in windows)  # of forty: window by window
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_small_data_is_scored_in_one_permutation(tree: dict[str, Any]) -> None:
    parts = placed(tree, "disk").training.shuffled_parts(5, np.random.default_rng(7))
    assert len(parts) == 5
    np.testing.assert_array_equal(np.concatenate(parts), np.random.default_rng(7).permutation(200))


def test_the_log_says_where_and_why(tree: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="robustcmr"):
        placed(tree, "auto")
    (line,) = [text for text in caplog.messages if text.startswith("training features")]
    assert line.startswith("training features of 0.0 MiB are in memory: at most a quarter of the ")


def test_requests_that_cannot_be_met(tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustcmr.data.placement.free_memory", lambda: 100)
    for store in ("memory", "device"):
        with pytest.raises(ConfigError, match=f"training.store is {store}, but the training features take"):
            placed(tree, store)
    placed(tree, "auto")
    with pytest.raises(ConfigError, match=r"training\.store"):
        placed(tree, "cloud")


class Pixels:
    """Pictures of 3 x 2 x 2 numbers."""

    shape = (40, 3, 2, 2)

    def take(self, images: Any) -> Any:
        return np.ones((len(images), 3, 2, 2), dtype=np.float32)


@pytest.mark.parametrize(("store", "half"), [("memory", False), ("device", False), ("disk", True)])
def test_pictures_are_kept_nowhere(tree: dict[str, Any], store: str, half: bool) -> None:
    training = {**tree["training"], "store": store, "half_features": half}
    track = PairsTrack.build(resolve({**tree, "training": training}))
    object.__setattr__(track.training, "images", Pixels())
    with pytest.raises(ConfigError, match=r"this matcher reads pictures.*; set training\.\w+=(auto|false)"):
        track.place_training(CPU)


def test_pictures_are_left_as_they_are_and_shuffled_as_a_whole(tree: dict[str, Any]) -> None:
    track = PairsTrack.build(resolve(tree))
    object.__setattr__(track.training, "images", Pixels())
    track.place_training(CPU)
    assert isinstance(track.training.images, Pixels)
    parts = track.training.shuffled_parts(5, np.random.default_rng(7))
    np.testing.assert_array_equal(np.concatenate(parts), np.random.default_rng(7).permutation(200))


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("half", [False, True])
def test_labelled_vectors_are_the_same_in_every_store(labelled_folder: Any, store: str, half: bool) -> None:
    tree = {
        "data": {"name": "labelled", "root": str(labelled_folder)},
        "training": {},
        "augmentation": {"feature_noise": 0.3},
    }
    track, plain = placed(tree, store, half), build_track(resolve(tree))
    for ours, theirs in zip(epoch(track), epoch(plain), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.allclose(a, b, rtol=2**-10, atol=2**-9) if half else torch.equal(a, b)
    assert isinstance(track.training.texts, InMemoryFeatures) == (store != "disk")
