from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from robustcmr.data import store as store_module
from robustcmr.data.store import (
    NpyFeatures,
    count_non_finite,
    iterate_blocks,
    non_finite_images,
    rows_within,
)
from robustcmr.errors import DataError

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def write(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def numbers(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


class Counting:
    """A store in memory that counts the images read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.read = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape

    def take(self, images: np.ndarray) -> np.ndarray:
        self.read += len(images)
        return self.array[images]


@pytest.fixture(scope="module")
def five_copies(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, Path]:
    features = numbers(20, 3, 4, dtype="float16")
    return features, write(tmp_path_factory.mktemp("five") / "ims.npy", features.repeat(5, axis=0))


@settings(max_examples=60, deadline=None)
@given(images=st.lists(st.integers(0, 19), max_size=50))
def test_take_equals_indexing_the_whole_array(five_copies, images):
    features, path = five_copies
    wanted = np.array(images, dtype=np.int64)
    taken = NpyFeatures(path, np.arange(0, 100, 5)).take(wanted)
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, features.astype(np.float32)[wanted])


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f2", ">f4"])
def test_properties_and_number_types(tmp_path, dtype):
    features = numbers(6, 3, 4, dtype=dtype)
    store = NpyFeatures(write(tmp_path / "a.npy", features))
    assert store.shape == (6, 3, 4)
    assert store.dtype == np.dtype(dtype)
    assert store.path == tmp_path / "a.npy"
    assert store.rows is None
    assert store.take(np.arange(6)).dtype == np.float32
    np.testing.assert_array_equal(store.take(np.array([5, 0, 5])), features.astype("float32")[[5, 0, 5]])


def test_chosen_rows_are_the_images(five_copies):
    features, path = five_copies
    store = NpyFeatures(path, np.array([99, 0, 7, 7]))
    assert (store.shape, NpyFeatures(path).shape) == ((4, 3, 4), (100, 3, 4))
    np.testing.assert_array_equal(store.take(np.array([3, 0])), features[[1, 19]].astype(np.float32))
    with pytest.raises(IndexError, match=r"0\.\.99"):
        NpyFeatures(path, np.array([100]))


def test_first_copy_is_taken_and_the_result_is_the_callers_own(tmp_path):
    features = np.arange(6, dtype=np.float32).reshape(6, 1, 1)
    store = NpyFeatures(write(tmp_path / "a.npy", features), np.array([0, 2, 4]))
    taken = store.take(np.array([0, 1, 2]))
    assert taken.ravel().tolist() == [0, 2, 4]
    taken[:] = -1  # writing into it must work and not reach the file
    assert store.take(np.array([1])).ravel().tolist() == [2]


def test_one_vector_an_image_counts_as_one_region(tmp_path):
    features = numbers(5, 7)
    store = NpyFeatures(write(tmp_path / "a.npy", features))
    assert store.shape == (5, 1, 7)
    np.testing.assert_array_equal(store.take(np.array([3, 1]))[:, 0], features[[3, 1]])


@pytest.mark.parametrize("bad", [[-1], [0, 6]])
def test_indices_outside_are_refused(tmp_path, bad):
    store = NpyFeatures(write(tmp_path / "a.npy", numbers(6, 3, 4)))
    with pytest.raises(IndexError, match=r"0\.\.5"):
        store.take(np.array(bad))


def test_indices_must_be_a_vector(tmp_path):
    path = write(tmp_path / "a.npy", numbers(6, 3, 4))
    with pytest.raises(ValueError, match="vector"):
        NpyFeatures(path).take(np.zeros((2, 2), np.int64))


def test_a_pickled_copy_holds_the_path_alone_and_opens_the_file_anew(five_copies):
    features, path = five_copies
    assert len(pickle.dumps(NpyFeatures(path))) < 500
    copy = pickle.loads(pickle.dumps(NpyFeatures(path, np.arange(0, 100, 5))))
    np.testing.assert_array_equal(copy.take(np.array([7])), features[[7]].astype(np.float32))


def test_missing_file_and_folder_in_its_place(tmp_path):
    with pytest.raises(
        DataError, match=r"cannot read the feature file .*none\.npy: No such file.*; check the path"
    ):
        NpyFeatures(tmp_path / "none.npy")
    with pytest.raises(DataError, match="cannot read the feature file"):
        NpyFeatures(tmp_path)


def test_truncated_file_says_both_sizes(tmp_path):
    path = write(tmp_path / "a.npy", numbers(6, 3, 4))
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(
        DataError, match=rf"promises {len(content)} bytes but the file has {len(content) - 10}"
    ):
        NpyFeatures(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((6, 3, 4)), "float64"),
        (np.zeros((6, 3, 4), np.uint8), "uint8"),
        (np.zeros((6, 3, 4), np.complex64), "complex64"),
        (np.zeros(6, np.float32), r"shape \(6,\)"),
        (np.zeros((1, 6, 3, 4), np.float32), r"shape \(1, 6, 3, 4\)"),
        (np.zeros((0, 3, 4), np.float32), "empty"),
        (np.zeros((6, 0, 4), np.float32), "empty"),
        (np.asfortranarray(np.zeros((6, 3, 4), np.float32)), "ascontiguousarray"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, message):
    with pytest.raises(DataError, match=message):
        NpyFeatures(write(tmp_path / "a.npy", array))


class Trap:
    """Unpickling this leaves a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_arrays_are_never_loaded(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([Trap(tmp_path / "sprung")], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="object"):
        NpyFeatures(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"\x93NUMPY\x01\x00\x76\x00{'descr'"])
def test_what_is_no_npy_file_is_refused(tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a readable"):
        NpyFeatures(path)


def test_newer_header_versions_are_read(tmp_path):
    features = numbers(6, 3, 4)
    for version in [(1, 0), (2, 0), (3, 0)]:
        with (tmp_path / "a.npy").open("wb") as file:
            np.lib.format.write_array(file, features, version=version)
        np.testing.assert_array_equal(NpyFeatures(tmp_path / "a.npy").take(np.arange(6)), features)


def test_a_file_that_vanishes_is_reported_by_a_copy(tmp_path):
    store = NpyFeatures(write(tmp_path / "a.npy", numbers(6, 3, 4)))
    content = pickle.dumps(store)
    (tmp_path / "a.npy").unlink()
    with pytest.raises(DataError, match=r"cannot read .*a\.npy: No such file"):
        pickle.loads(content).take(np.array([0]))


def test_a_file_that_becomes_shorter_is_reported(tmp_path):
    features = numbers(12, 3, 4)
    path = write(tmp_path / "a.npy", features)
    store = NpyFeatures(path)
    size = 3 * 4 * 4
    with path.open("r+b") as file:
        file.truncate(128 + 10 * size + 7)
    np.testing.assert_array_equal(store.take(np.array([9])), features[[9]])
    for rows in ([10], [0, 11]):
        with pytest.raises(DataError, match="became shorter"):
            store.take(np.array(rows))


@pytest.mark.parametrize("most", [1, 7, 100])
def test_reads_that_stop_early_are_continued(tmp_path, monkeypatch, most):
    class Short(io.FileIO):
        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:most])

    features = numbers(6, 3, 4)
    store = NpyFeatures(write(tmp_path / "a.npy", features))
    monkeypatch.setattr(Path, "open", lambda path, mode, buffering: Short(path, mode))
    wanted = np.array([5, 0, 1, 2, 5])
    np.testing.assert_array_equal(store.take(wanted), features[wanted])


def test_an_error_of_the_disk_names_the_file(tmp_path, monkeypatch):
    store = NpyFeatures(write(tmp_path / "a.npy", numbers(6, 3, 4)))

    def broken(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(DataError, match=r"cannot read .*a\.npy: Input/output error"):
        store.take(np.array([0]))


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice")
def test_neighbours_are_read_together_in_the_order_of_the_file(tmp_path, monkeypatch):
    features = numbers(23, 3, 4)
    store = NpyFeatures(write(tmp_path / "a.npy", features))
    advice: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, length, __: advice.append((start, length)))
    wanted = np.array([9, 20, 3, 4, 10, 8, 3])
    np.testing.assert_array_equal(store.take(wanted), features[wanted])
    size = 3 * 4 * 4
    # rows 3 (its second copy) and 4 are apart in the result from the first 3; 8, 9 and 10 are apart as well
    rows = [(3, 1), (3, 1), (4, 1), (8, 1), (9, 1), (10, 1), (20, 1)]
    assert advice == [(128 + row * size, length * size) for row, length in rows]
    advice.clear()
    wanted = np.array([15, 16, 17, 2, 3])
    np.testing.assert_array_equal(store.take(wanted), features[wanted])
    assert advice == [(128 + 2 * size, 2 * size), (128 + 15 * size, 3 * size)]


def test_systems_without_advice_read_the_same(tmp_path, monkeypatch):
    features = numbers(9, 3, 4)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    wanted = np.array([5, 4, 4, 8, 0])
    store = NpyFeatures(write(tmp_path / "a.npy", features))
    np.testing.assert_array_equal(store.take(wanted), features[wanted])


def test_threads_share_one_store(tmp_path):
    features = numbers(23, 3, 5)
    store, wrong = NpyFeatures(write(tmp_path / "a.npy", features)), []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(50):
            wanted = rng.integers(0, 23, 9)
            if not np.array_equal(store.take(wanted), features[wanted]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux lists open files here")
def test_no_file_stays_open(tmp_path):
    path = write(tmp_path / "a.npy", numbers(6, 3, 4))
    before = len(list(Path("/proc/self/fd").iterdir()))
    stores = [NpyFeatures(path) for _ in range(20)]
    for store in stores:
        store.take(np.array([1]))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_rows_within_a_size():
    assert rows_within((9, 36, 2048), 4 * 2**20) == 14
    assert rows_within((9, 36, 2048), 1) == 1


def test_non_finite_regions_are_counted_by_image():
    chunk = np.zeros((4, 3, 5), np.float16)
    chunk[1, 0, 2], chunk[1, 0, 3], chunk[1, 2, 0] = np.nan, np.inf, -np.inf
    chunk[3, 1, 1] = np.nan
    found = count_non_finite(chunk)
    assert found.dtype == np.int64
    assert found.tolist() == [0, 2, 0, 1]


@pytest.mark.parametrize("rows", [1, 7, 256])
def test_non_finite_images_are_found_in_blocks(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(store_module, "BLOCK_BYTES", rows * 2 * 3 * 4)
    features = numbers(100, 2, 3)
    for image in (3, 50, 51, 99):
        features[image, image % 2, 0] = np.nan
    truth = [(3, 1), (50, 1), (51, 1), (99, 1)]
    assert non_finite_images(NpyFeatures(write(tmp_path / "a.npy", features))) == truth
    counting = Counting(features)
    assert non_finite_images(counting) == truth
    assert counting.read == 100
    assert non_finite_images(Counting(numbers(10, 2, 3))) == []


def test_blocks_cover_all_images_once(five_copies):
    features, path = five_copies
    blocks = list(iterate_blocks(NpyFeatures(path, np.arange(0, 100, 5)), 7))
    assert [first for first, _ in blocks] == [0, 7, 14]
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), features)


def test_memory_stays_bounded_whatever_the_size_of_the_file(tmp_path):
    """1 GiB of features, mostly holes: opening, taking and scanning may not bring it into memory."""
    path = tmp_path / "large.npy"
    rows = 2**30 // (36 * 2048 * 4)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (rows, 36, 2048)}
        )
        file.truncate(file.tell() + rows * 36 * 2048 * 4)
    program = """
        import sys
        from pathlib import Path
        import numpy as np, psutil
        from robustcmr.data.store import NpyFeatures, iterate_blocks
        me = psutil.Process()
        before = me.memory_info().rss
        store = NpyFeatures(Path(sys.argv[1]))
        opened = me.memory_info().rss
        store.take(np.arange(0, store.shape[0], store.shape[0] // 32))
        taken = me.memory_info().rss
        for first in range(0, store.shape[0], 64):  # a whole epoch of batches
            store.take(np.arange(first, min(first + 64, store.shape[0])))
            taken = max(taken, me.memory_info().rss)
        store, peak = NpyFeatures(Path(sys.argv[1])), 0
        for first, block in iterate_blocks(store, chunk_rows=64):
            peak = max(peak, me.memory_info().rss)
            if first > 1400:  # 400 MiB
                break
        print(store.shape[0], (opened - before) >> 20, (taken - before) >> 20, (peak - before) >> 20)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    n_images, opened, taken, peak = (int(word) for word in done.stdout.split())
    assert n_images == rows
    assert opened <= 4
    assert taken <= 120  # a batch of 64 rows is 18 MiB
    assert peak <= 120  # a block of 64 rows is 18 MiB


def test_real_features():
    path = SHARED / "f8k_precomp" / "train_ims.npy"
    if not path.exists():
        pytest.skip("the real Flickr8K features are not here")
    store = NpyFeatures(path)
    assert store.shape == (6000, 9, 512)
    assert store.dtype == np.float16
    assert non_finite_images(store) == []
    images = np.array([5999, 0, 123, 0])
    np.testing.assert_array_equal(store.take(images), np.load(path)[images].astype(np.float32))
