"""Pairs of any source become metadata and the list of uids that DataComp's tools read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.sources.convert import convert
from robustcmr.sources.guess import open_source
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Source

RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Some:
    """Chosen pairs of a shard."""

    shard: int
    rows: npt.NDArray[np.int64]
    parts: npt.NDArray[np.int32]


def chosen(source: Source, *rows: int) -> list[Some]:
    return [Some(0, np.array(rows, np.int64), np.zeros(len(rows), np.int32))]


def write_source(path: Path, ids: list[str]) -> Source:
    table = {
        "uid": ids,
        "url": [f"http://x/{n}" for n in range(len(ids))],
        "caption": [f"text {n}" for n in range(len(ids))],
    }
    pq.write_table(pa.table({**table, "text": ["other"] * len(ids)}), path)
    return open_source(path, text="caption")


def test_uids_are_kept_and_listed_as_the_baselines_save_them(tmp_path: Path) -> None:
    uids = [RNG.bytes(16).hex() for _ in range(40)]
    uids[7] = uids[3]
    source = write_source(tmp_path / "a.parquet", uids)
    rows = [*range(0, 40, 3), 7]
    done = convert(source, chosen(source, *sorted(rows)), tmp_path / "out", "datacomp")
    assert [path.name for path in done.files] == ["00000000.parquet", "kept.npy"]
    table = pq.read_table(done.files[0])
    assert table.schema.names == ["uid", "url", "text", "id", "text_of_source"]
    assert table["uid"].to_pylist() == [uids[row] for row in sorted(rows)]
    assert table["text"].to_pylist() == [f"text {row}" for row in sorted(rows)]
    found = np.load(done.files[1])
    assert found.dtype == np.dtype("u8,u8")
    halves = sorted({(int(uids[row][:16], 16), int(uids[row][16:32], 16)) for row in rows})
    assert [tuple(map(int, each)) for each in found] == halves
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00000000.parquet", "kept.npy"]


def test_other_ids_are_hashed_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_source(tmp_path / "a.parquet", ["one", "two", "three"])
    done = convert(source, chosen(source, 0, 2), tmp_path / "out", "datacomp")
    table = pq.read_table(done.files[0])
    hashes = [hashlib.blake2b(name, digest_size=16).hexdigest() for name in (b"one", b"three")]
    assert table["uid"].to_pylist() == hashes
    assert table["id"].to_pylist() == ["one", "three"]
    assert "ids are not uids of 32 hexadecimal digits" in caplog.text
    assert [tuple(map(int, each)) for each in np.load(done.files[1])] == sorted(
        divmod(int(one, 16), 2**64) for one in hashes
    )


def test_pictures_are_left_out_and_names_kept(tmp_path: Path) -> None:
    table = {
        "image": [{"bytes": b"x", "path": "a.jpg"}, {"bytes": b"y", "path": None}],
        "caption": ["one", "two"],
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    done = convert(source, chosen(source, 0, 1), tmp_path / "out", "datacomp")
    assert pq.read_table(done.files[0])["url"].to_pylist() == ["a.jpg", None]
    empty = convert(source, chosen(source), tmp_path / "none", "datacomp")
    assert len(np.load(empty.files[-1])) == 0
    assert len(list(pairs(open_source(empty.files[0]), open_source(empty.files[0]).shards[0]))) == 0
