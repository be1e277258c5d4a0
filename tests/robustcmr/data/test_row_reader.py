"""Rows read by position, against indexing of the whole array."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcmr.data import row_reader
from robustcmr.data.row_reader import RowLayout, RowReader
from robustcmr.errors import DataError

ROWS, OFFSET = 23, 11


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, RowLayout]:
    array = np.random.default_rng(0).integers(0, 255, (ROWS, 3, 5)).astype(">f4")
    path = tmp_path_factory.mktemp("rows") / "rows.bin"
    path.write_bytes(b"x" * OFFSET + array.tobytes() + b"more")
    return array, RowLayout(path, OFFSET, array.shape, array.dtype)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.integers(0, ROWS - 1), max_size=60))
def test_any_rows_in_any_order_equal_indexing(stored, rows):
    array, layout = stored
    wanted = np.array(rows, dtype=np.int64)
    read = RowReader(layout).read(wanted)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array[wanted])


def test_the_way_of_other_systems_gives_the_same(stored, monkeypatch):
    array, layout = stored
    wanted = np.array([5, 4, 4, 22, 0, 6, 5])
    for name in ("POSITIONAL", "ADVISES"):
        monkeypatch.setattr(row_reader, name, False)
    np.testing.assert_array_equal(RowReader(layout).read(wanted), array[wanted])
    with pytest.raises(DataError, match="cannot map"):
        RowReader(RowLayout(layout.path.parent / "none", 0, (1, 1), array.dtype)).read(np.array([0]))


@pytest.mark.skipif(not row_reader.POSITIONAL, reason="this system has no positional reads")
def test_neighbours_are_read_together_in_the_order_of_the_file(stored, monkeypatch):
    array, layout = stored
    calls, advice, real = [], [], os.preadv

    def counted(descriptor, buffers, position):
        calls.append((position, [len(buffer) for buffer in buffers]))
        return real(descriptor, buffers, position)

    monkeypatch.setattr(os, "preadv", counted)
    if row_reader.ADVISES:
        monkeypatch.setattr(os, "posix_fadvise", lambda _, start, size, __: advice.append((start, size)))
    monkeypatch.setattr(row_reader, "LONG_BYTES", 2 * 60)
    wanted = np.array([9, 20, 3, 4, 10, 8, 3])
    np.testing.assert_array_equal(RowReader(layout).read(wanted), array[wanted])
    size = 60
    assert calls == [  # rows 3 and 4 go side by side; 8, 9 and 10 to places apart
        (OFFSET + 3 * size, [2 * size]),
        (OFFSET + 8 * size, [size, size, size]),
        (OFFSET + 20 * size, [size]),
    ]
    if row_reader.ADVISES:
        assert advice == [(OFFSET + 3 * size, 2 * size), (OFFSET + 20 * size, size)]  # 8 to 10 are long


@pytest.mark.skipif(not row_reader.POSITIONAL, reason="this system has no positional reads")
@pytest.mark.parametrize("most", [1, 7, 60, 61, 130])
def test_reads_that_stop_early_and_many_buffers(stored, monkeypatch, most):
    array, layout = stored
    real = os.preadv

    def short(descriptor, buffers, position):
        left, given = most, []
        for buffer in buffers:
            given.append(buffer[: min(left, len(buffer))])
            left -= len(given[-1])
            if not left:
                break
        return real(descriptor, given, position)

    monkeypatch.setattr(os, "preadv", short)
    monkeypatch.setattr(row_reader, "MOST_BUFFERS", 2)
    wanted = np.arange(ROWS)[::-1].copy()
    np.testing.assert_array_equal(RowReader(layout).read(wanted), array[wanted])


def test_a_missing_file_and_one_that_became_shorter(stored, tmp_path):
    array, _ = stored
    if not row_reader.POSITIONAL:
        pytest.skip("this system has no positional reads")
    with pytest.raises(DataError, match="cannot open"):
        RowReader(RowLayout(tmp_path / "none", 0, (1, 1), array.dtype))
    path = tmp_path / "rows.bin"
    path.write_bytes(array.tobytes())
    reader = RowReader(RowLayout(path, 0, array.shape, array.dtype))
    with path.open("r+b") as file:
        file.truncate(60 * 10 + 7)
    np.testing.assert_array_equal(reader.read(np.array([9])), array[[9]])
    with pytest.raises(DataError, match="became shorter"):
        reader.read(np.array([10]))


def test_an_error_of_the_disk_names_the_file(stored, monkeypatch):
    _, layout = stored
    if not row_reader.POSITIONAL:
        pytest.skip("this system has no positional reads")

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(DataError, match=r"cannot read .*rows\.bin: Input/output error"):
        RowReader(layout).read(np.array([0]))


def test_threads_share_one_reader(stored):
    array, layout = stored
    reader, wrong = RowReader(layout), []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(50):
            wanted = rng.integers(0, ROWS, 9)
            if not np.array_equal(reader.read(wanted), array[wanted]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_files_are_closed_with_their_readers(stored):
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("only Linux lists open files here")
    _, layout = stored
    before = len(list(folder.iterdir()))
    for _ in range(20):
        RowReader(layout).read(np.array([1]))
    assert len(list(folder.iterdir())) <= before + 1
