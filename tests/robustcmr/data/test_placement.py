"""Where training features stay, and that reading them gives the same numbers everywhere."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest
import torch

from robustcmr.data import placement
from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.in_memory_features import (
    HalfFeatures,
    InMemoryFeatures,
    bytes_per_number,
    gather_finite,
)
from robustcmr.data.placement import MemoryBudget, choose_place, place_features
from robustcmr.data.store import NpyFeatures
from robustcmr.errors import ConfigError, DataError

CPU, GPU, GIB = torch.device("cpu"), torch.device("cuda", 0), 2**30


def budget(memory: int = 100 * GIB, on_device: int = 100 * GIB, device=CPU, workers: int = 0) -> MemoryBudget:
    return MemoryBudget(device, memory, on_device, workers)


def saved(tmp_path, dtype="float32", shape=(40, 3, 4)):
    features = np.random.default_rng(1).normal(size=shape).astype(dtype)
    np.save(tmp_path / "a.npy", features)
    return features, NpyFeatures(tmp_path / "a.npy")


@pytest.mark.parametrize("requested", ["auto", "disk", "memory", "device"])
@pytest.mark.parametrize("dtype", ["float32", "float16", ">f4"])
def test_every_store_reads_the_same(tmp_path, requested, dtype):
    features, store = saved(tmp_path, dtype)
    placed = place_features({"image": store}, requested, False, budget())["image"]
    wanted = np.array([39, 0, 7, 7, 3])
    assert placed.shape == store.shape == (40, 3, 4)
    for read in (placed.take(wanted), gather_finite(placed, wanted, "image").numpy()):
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, features.astype(np.float32)[wanted])
    assert isinstance(placed, InMemoryFeatures) == (requested != "disk")


@pytest.mark.parametrize("requested", ["disk", "memory", "device"])
def test_half_precision_rounds_the_same_wherever_features_stay(tmp_path, requested):
    features, store = saved(tmp_path)
    placed = place_features({"image": store}, requested, True, budget())["image"]
    read = placed.take(np.arange(40))
    np.testing.assert_array_equal(read, features.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(read, features, rtol=2**-11, atol=1e-7)
    assert not np.array_equal(read, features)
    assert bytes_per_number(placed if requested == "disk" else HalfFeatures(store)) == 2


def test_half_precision_is_kept_where_the_file_has_it(tmp_path):
    _, store = saved(tmp_path, "float16")
    assert bytes_per_number(store) == 2
    assert InMemoryFeatures(store, CPU)._numbers.nbytes == 2 * 40 * 3 * 4
    assert bytes_per_number(ArrayFeatures(np.ones((3, 5)))) == 4
    assert InMemoryFeatures(ArrayFeatures(np.ones((3, 5))), CPU)._numbers.nbytes == 4 * 15


def test_features_are_loaded_block_by_block(tmp_path, monkeypatch):
    features, store = saved(tmp_path)
    monkeypatch.setattr("robustcmr.data.store.BLOCK_BYTES", 7 * 48)
    loaded = InMemoryFeatures(store, CPU)
    np.testing.assert_array_equal(loaded.take(np.arange(40)), features)


def test_gathered_features_are_a_copy(tmp_path):
    features, store = saved(tmp_path)
    loaded = InMemoryFeatures(store, CPU)
    loaded.gather(np.arange(3)).zero_()
    loaded.take(np.arange(3))[:] = 0
    np.testing.assert_array_equal(loaded.take(np.arange(3)), features[:3])


@pytest.mark.parametrize("half", [False, True])
def test_a_pickled_copy_carries_no_numbers_and_reads_the_same(tmp_path, half):
    _, store = saved(tmp_path)
    loaded = place_features({"image": store}, "memory", half, budget())["image"]
    content = pickle.dumps(loaded)
    assert len(content) < 600
    np.testing.assert_array_equal(pickle.loads(content).take(np.arange(9)), loaded.take(np.arange(9)))


def test_indices_are_checked(tmp_path):
    loaded = InMemoryFeatures(saved(tmp_path)[1], CPU)
    for bad in ([-1], [40]):
        with pytest.raises(IndexError, match=r"0\.\.39"):
            loaded.gather(np.array(bad))
    with pytest.raises(ValueError, match="vector"):
        loaded.gather(np.zeros((2, 2), np.int64))
    assert loaded.gather(np.array([], dtype=np.int64)).shape == (0, 3, 4)


def test_numbers_that_are_not_finite_or_too_large_are_refused(tmp_path):
    features, _ = saved(tmp_path)
    features[31, 1, 2] = np.nan
    np.save(tmp_path / "b.npy", features)
    with pytest.raises(DataError, match=r"NaN or infinite numbers, first those of image 31;"):
        place_features({"image": NpyFeatures(tmp_path / "b.npy")}, "memory", False, budget())
    features[31, 1, 2] = 1e5
    np.save(tmp_path / "c.npy", features)
    large = NpyFeatures(tmp_path / "c.npy")
    assert InMemoryFeatures(large, CPU).take(np.array([31])).max() == 1e5
    with pytest.raises(
        DataError, match=r"hold 100000, and half .* 65504; add --set training\.half_features=false"
    ):
        place_features({"image": large}, "memory", True, budget())
    with pytest.raises(DataError, match="65504"):
        HalfFeatures(large).take(np.array([31]))


@pytest.mark.parametrize(
    ("size", "there", "expected"),
    [
        (GIB // 2, budget(), "memory"),
        (GIB // 2, budget(memory=GIB), "disk"),
        (2 * GIB, budget(), "memory"),
        (2 * GIB + 1, budget(), "disk"),
        (8 * GIB, budget(device=GPU, on_device=16 * GIB), "device"),
        (9 * GIB, budget(device=GPU, on_device=16 * GIB), "disk"),
        (GIB // 2, budget(device=GPU, on_device=GIB // 2), "memory"),
        (GIB // 2, budget(device=GPU, workers=2), "memory"),
        (8 * GIB, budget(device=GPU, workers=2), "disk"),
    ],
)
def test_auto_depends_on_size_and_free_memory(size, there, expected):
    place, reason = choose_place("auto", size, there)
    assert place == expected
    assert reason


def test_requests_are_met_where_features_fit():
    assert choose_place("memory", 5 * GIB, budget(memory=5 * GIB))[0] == "memory"
    assert choose_place("device", 5 * GIB, budget(device=GPU, on_device=5 * GIB))[0] == "device"
    assert choose_place("device", GIB, budget(workers=2))[0] == "device"  # the CPU's memory is everybody's
    assert choose_place("disk", 500 * GIB, budget())[0] == "disk"


def test_a_request_that_cannot_be_met_is_one_sentence():
    with pytest.raises(ConfigError, match=r"store is memory.* take 9\.0 GiB and 2\.0 GiB of main memory are"):
        choose_place("memory", 9 * GIB, budget(memory=2 * GIB))
    with pytest.raises(
        ConfigError, match=r"store is device.* take 9\.0 GiB and 512\.0 MiB of cuda:0 are free"
    ):
        choose_place("device", 9 * GIB, budget(device=GPU, on_device=GIB // 2))
    with pytest.raises(ConfigError, match=r"store is device, but training\.workers is 2"):
        choose_place("device", 1, budget(device=GPU, workers=2))


def test_the_log_says_what_was_chosen_and_why(tmp_path, caplog):
    _, store = saved(tmp_path, shape=(1024, 16, 16))
    with caplog.at_level(logging.INFO, logger="robustcmr"):
        place_features({"image": store, "caption": store}, "auto", False, budget())
        place_features({"image": store}, "disk", True, budget())
        place_features({"image": store}, "device", False, budget())
    assert caplog.messages == [
        "training features of 2.0 MiB are in memory: at most a quarter of the 100.0 GiB that are free",
        "training features of 0.5 MiB (rounded to half precision) stay on disk: as requested",
        "training features of 1.0 MiB are on cpu: as requested",
    ]


def test_free_memory_respects_the_limit_of_a_container(tmp_path, monkeypatch):
    class Memory:
        available = 1000

    monkeypatch.setattr(placement.psutil, "virtual_memory", Memory)
    assert placement.free_memory(tmp_path) == 1000  # no such group here
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\nfile 150\n")
    for limit, expected in (("max", 1000), ("800", 250), ("9000", 1000), ("400", 0)):
        (tmp_path / "memory.max").write_text(limit + "\n")
        assert placement.free_memory(tmp_path) == expected


def test_processes_of_one_machine_share_its_memory(monkeypatch):
    monkeypatch.setattr(placement, "free_memory", lambda: 12 * GIB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5 * GIB, 9 * GIB))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert MemoryBudget.here(CPU, 3) == MemoryBudget(CPU, 12 * GIB, 12 * GIB, 3)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert MemoryBudget.here(CPU, 0) == MemoryBudget(CPU, 3 * GIB, 3 * GIB, 0)
    assert MemoryBudget.here(GPU, 0) == MemoryBudget(GPU, 3 * GIB, 5 * GIB, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_a_gpu_batches_are_gathered_there(tmp_path):
    features, store = saved(tmp_path)
    there = MemoryBudget.here(torch.device("cuda", torch.cuda.current_device()), 0)
    loaded = place_features({"image": store}, "auto", False, there)["image"]
    found = gather_finite(loaded, np.array([5, 2, 5]), "image")
    assert found.is_cuda
    np.testing.assert_array_equal(found.cpu().numpy(), features[[5, 2, 5]])
    np.testing.assert_array_equal(loaded.take(np.array([5, 2, 5])), features[[5, 2, 5]])
