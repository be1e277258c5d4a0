"""Arrow files, streams and Feather: read and written back, against pyarrow and pandas."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather

from robustcmr.errors import DataError
from robustcmr.sources import arrow, open_source
from robustcmr.sources.arrow_messages import outline


def made(rows: int = 1000) -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "key": [f"k{row}" for row in range(rows)],
            "image": [b"picture" * (row % 50) for row in range(rows)],
            "text": [f"caption {row}" * 5 for row in range(rows)],
            "kind": pa.array(rng.choice(["photo", "drawing"], rows)).dictionary_encode(),
            "boxes": [[[1.0, 2.0]] * (row % 3) for row in range(rows)],
        }
    ).replace_schema_metadata({"made": "by a test"})


def write(path: Path, table: pa.Table, kind: str, compression: str | None, rows: int = 128) -> Path:
    new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with new(str(path), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def read(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        start = file.read(6)
    opened: Any = pa.ipc.open_file(str(path)) if start == b"ARROW1" else pa.ipc.open_stream(str(path))
    return opened.read_all()


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_kept_rows_schema_metadata_and_compression_are_equal(
    tmp_path: Path, kind: str, compression: str | None
) -> None:
    path = write(tmp_path / "a.arrow", made(), kind, compression)
    source = open_source(path)
    assert source.shards[0].rows == 1000
    keep = np.random.default_rng(1).random(1000) < 0.4
    keep[128:256] = False  # a batch of which nothing is left
    (out,) = source.write(source.shards[0], keep, tmp_path / "to")
    assert read(out).equals(read(path).filter(pa.array(keep)), check_metadata=True)
    before, after = outline(path), outline(out)
    assert (after.is_file, after.compression, after.rows) == (before.is_file, compression, keep.sum())
    assert after.is_file == (kind == "file")
    # all kept: the batches are those of the source
    (out,) = source.write(source.shards[0], np.ones(1000, dtype=bool), tmp_path / "all")
    assert out.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_feather_of_pandas(tmp_path: Path, compression: str) -> None:
    frame = pd.DataFrame({"image_path": ["a", "b", None], "caption": ["x", None, "z"], "n": [1, 2, 3]})
    feather.write_feather(frame, tmp_path / "a.feather", compression=compression)
    source = open_source(tmp_path / "a.feather")
    (out,) = source.write(source.shards[0], np.array([True, False, True]), tmp_path / "to")
    expected = frame[[True, False, True]].reset_index(drop=True)
    pd.testing.assert_frame_equal(feather.read_feather(out), expected)
    assert (outline(out).compression or "uncompressed") == compression


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("start", [0, 1, 127, 128, 500, 999, 1000])
def test_reading_from_a_row_gives_the_rest(tmp_path: Path, kind: str, start: int) -> None:
    source = open_source(write(tmp_path / "a.arrow", made(), kind, "zstd"))
    table = pa.Table.from_batches(source.batches(source.shards[0], start), source.schema())
    assert table.equals(made().slice(start))


@pytest.mark.parametrize(("rows", "allowed"), [(8, 12), (40, 2)])
def test_memory_is_that_of_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, allowed: int
) -> None:
    """Batches of 8 MiB are read one by one; one of 40 MiB is mapped and comes in parts."""
    monkeypatch.setattr(arrow, "MOST_BYTES", 4 * 2**20)
    monkeypatch.setattr(arrow, "_LARGEST_BATCH", 10 * 2**20)
    table = pa.table({"image": [bytes(2**20)] * 40, "caption": ["c"] * 40})
    source = open_source(write(tmp_path / "a.arrow", table, "file", None, rows))
    before = pa.total_allocated_bytes()
    found, most = 0, 0
    for batch in source.batches(source.shards[0]):
        assert batch.nbytes <= 4 * 2**20
        most = max(most, pa.total_allocated_bytes() - before)
        found += batch.num_rows
    assert found == 40
    assert most <= allowed * 2**20
    assert (most > 7 * 2**20) == (rows == 8)  # read, or mapped


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"ARROW1\0\0", "cannot be read as Arrow"),
        (b"FEA1 and more", "is Feather of version 1, expected version 2"),
        (b"something else", "is no Arrow file"),
        (b"\xff\xff\xff\xff\x10\0\0\0" + bytes(16), "cannot be read as Arrow"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f", "cannot be read as Arrow"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.arrow").write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_source(tmp_path / "a.arrow", format="arrow")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_a_file_that_is_cut_off_says_so(tmp_path: Path, kind: str) -> None:
    data = write(tmp_path / "a.arrow", made(), kind, None).read_bytes()
    for size in range(100, len(data) - 20, len(data) // 7):
        (tmp_path / "b.arrow").write_bytes(data[:size])
        with pytest.raises(DataError, match=r"b.arrow cannot be read as Arrow \(.*\); write or copy"):
            open_source(tmp_path / "b.arrow")


def test_damaged_bytes_are_an_error_of_the_file(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.arrow", made(50), "stream", None).read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(150):  # heads of messages that lie about what follows
        wrong = data.copy()
        for at in rng.integers(8, 900, 3):
            wrong[at] = rng.integers(256)
        (tmp_path / "b.arrow").write_bytes(wrong)
        try:
            outline(tmp_path / "b.arrow")
        except (OSError, pa.ArrowException):
            continue


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_damage_within_a_file_is_told_of_it_and_no_copy_is_left(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "a.arrow", made(), kind, "zstd")
    data = path.read_bytes()
    at = [found.start() for found in re.finditer(rb"\x28\xb5\x2f\xfd", data)][-5]  # a frame of Zstandard
    path.write_bytes(data[:at] + b"\xff" * 16 + data[at + 16 :])
    source = open_source(path)
    for read in (
        lambda: list(source.batches(source.shards[0])),
        lambda: source.write(source.shards[0], np.ones(1000, dtype=bool), tmp_path / "to"),
    ):
        with pytest.raises(DataError, match=r"a\.arrow cannot be read as Arrow \("):
            read()
    assert list((tmp_path / "to").iterdir()) == []
