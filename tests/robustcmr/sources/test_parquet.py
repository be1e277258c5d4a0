"""Parquet: read, filtered and written back, against pyarrow and DuckDB."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from robustcmr.errors import DataError, UserError
from robustcmr.sources import open_source, parquet as tables_of_parquet


def made(rows: int = 1000, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "uid": [f"u{row}" for row in range(rows)],
            "url": [f"https://example.org/{row // 2}.jpg" for row in range(rows)],
            "caption": [f"caption {row}" for row in range(rows)],
            "width": pa.array(rng.integers(0, 500, rows), pa.int32()),
            "tags": [["a", "b"][: row % 3] for row in range(rows)],
            "kind": pa.array(rng.choice(["photo", "drawing"], rows)).dictionary_encode(),
        }
    ).replace_schema_metadata({"made": "by a test", "pandas": "{}"})


def stated(about: parquet.FileMetaData) -> dict[bytes, bytes]:
    """Keys and values of a file; of Arrow's own, which holds the schema once more, only the key."""
    return {key: b"" if key == b"ARROW:schema" else value for key, value in (about.metadata or {}).items()}


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
def test_kept_rows_schema_metadata_compression_and_row_groups_are_equal(
    tmp_path: Path, compression: str
) -> None:
    parquet.write_table(made(), tmp_path / "a.parquet", compression=compression, row_group_size=300)
    source = open_source(tmp_path / "a.parquet")
    keep = np.random.default_rng(1).random(1000) < 0.4
    (path,) = source.write(source.shards[0], keep, tmp_path / "to")

    before = parquet.read_table(tmp_path / "a.parquet")
    assert path == tmp_path / "to" / "a.parquet"
    assert parquet.read_table(path).equals(before.filter(pa.array(keep)), check_metadata=True)
    old, new = parquet.read_metadata(tmp_path / "a.parquet"), parquet.read_metadata(path)
    assert new.num_row_groups == old.num_row_groups
    for group in range(4):
        assert new.row_group(group).num_rows == keep[300 * group : 300 * group + 300].sum()
        for number in range(old.num_columns):
            column = old.row_group(group).column(number)
            assert new.row_group(group).column(number).compression == column.compression
            assert new.row_group(group).column(number).path_in_schema == column.path_in_schema
    assert stated(new) == stated(old)


@pytest.mark.parametrize(
    "options",
    [
        {"version": "1.0"},
        {"use_dictionary": False, "write_statistics": False},
        {"use_dictionary": ["uid"], "compression": {"uid": "zstd", "url": "gzip"}},
        {"use_compliant_nested_type": False},
        {"store_schema": False},
        {"use_deprecated_int96_timestamps": True},
    ],
)
def test_how_a_file_was_written_is_kept(tmp_path: Path, options: dict[str, Any]) -> None:
    table = made().append_column("seen", pa.array(np.arange(1000) * 10**9, pa.timestamp("ns")))
    parquet.write_table(table, tmp_path / "a.parquet", **options)
    source = open_source(tmp_path / "a.parquet")
    (path,) = source.write(source.shards[0], np.ones(1000, dtype=bool), tmp_path / "to")

    def facts(file: Path) -> list[Any]:
        about = parquet.read_metadata(file)
        group = about.row_group(0)
        columns = [group.column(number) for number in range(group.num_columns)]
        return [
            about.format_version,
            stated(about),
            *(
                (c.compression, c.path_in_schema, c.physical_type, c.is_stats_set, c.encodings)
                for c in columns
            ),
        ]

    assert facts(path) == facts(tmp_path / "a.parquet")


def test_a_file_of_duckdb_is_written_back(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    duckdb.sql(
        "COPY (SELECT range AS id, 'c ' || range AS caption, 'i' || range % 7 AS image_path, "
        f"[1, 2] AS numbers FROM range(5000)) TO '{path}' "
        "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 2048)"
    )
    source = open_source(path)
    keep = np.random.default_rng(1).random(5000) < 0.5
    (out,) = source.write(source.shards[0], keep, tmp_path / "to")
    expected = parquet.read_table(path).filter(pa.array(keep))
    assert parquet.read_table(out).equals(expected, check_metadata=True)
    assert parquet.read_metadata(out).metadata is None  # as DuckDB states none


@pytest.mark.parametrize("start", [0, 1, 299, 300, 301, 900, 999, 1000])
def test_reading_from_a_row_gives_the_rest(tmp_path: Path, start: int) -> None:
    parquet.write_table(made(), tmp_path / "a.parquet", row_group_size=300)
    source = open_source(tmp_path / "a.parquet")
    table = pa.Table.from_batches(source.batches(source.shards[0], start), source.schema())
    assert table.equals(parquet.read_table(tmp_path / "a.parquet").slice(start))


def test_nothing_kept_gives_a_file_without_rows(tmp_path: Path) -> None:
    parquet.write_table(made(10), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    (out,) = source.write(source.shards[0], np.zeros(10, dtype=bool), tmp_path / "to")
    expected = parquet.read_table(tmp_path / "a.parquet").slice(0, 0)
    assert parquet.read_table(out).equals(expected, check_metadata=True)


def test_copies_of_nested_folders_keep_their_places(tmp_path: Path) -> None:
    for name in ("b/part-10", "b/part-2", "a/x"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(made(5), tmp_path / "in" / f"{name}.parquet")
    source = open_source(tmp_path / "in")
    assert [shard.path.stem for shard in source.shards] == ["x", "part-2", "part-10"]
    (out,) = source.write(source.shards[1], np.ones(5, dtype=bool), tmp_path / "to")
    assert out == tmp_path / "to" / "b" / "part-2.parquet"


def test_the_source_is_never_written_over(tmp_path: Path) -> None:
    parquet.write_table(made(5), tmp_path / "a.parquet")
    before = (tmp_path / "a.parquet").read_bytes()
    source = open_source(tmp_path / "a.parquet")
    (tmp_path / "link").symlink_to(tmp_path)
    for to in (tmp_path, tmp_path / "link"):
        with pytest.raises(DataError, match="is a file of the source itself; write to another folder"):
            source.write(source.shards[0], np.ones(5, dtype=bool), to)
    assert (tmp_path / "a.parquet").read_bytes() == before


def test_a_mask_of_another_length_is_refused(tmp_path: Path) -> None:
    parquet.write_table(made(5), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"has 4 entries and .* has 5 rows"):
        source.write(source.shards[0], np.ones(4, dtype=bool), tmp_path / "to")
    assert not (tmp_path / "to").exists() or not list((tmp_path / "to").iterdir())


def test_rows_come_in_batches_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_of_parquet, "MOST_BYTES", 4 * 2**20)
    pictures = [bytes([row]) * 2**20 for row in range(40)]
    options = {"compression": "none", "use_dictionary": False, "write_batch_size": 1}
    table = pa.table({"jpg": pictures, "caption": ["c"] * 40})
    parquet.write_table(table, tmp_path / "a.parquet", **options)  # in one row group
    del table
    source = open_source(tmp_path / "a.parquet")
    before = pa.total_allocated_bytes()
    largest, found = 0, 0
    for batch in source.batches(source.shards[0]):
        largest = max(largest, pa.total_allocated_bytes() - before)
        found += batch.num_rows
    assert found == 40
    assert largest < 20 * 2**20
    (out,) = source.write(source.shards[0], np.ones(40, dtype=bool), tmp_path / "to")
    assert parquet.read_table(out).column("jpg").to_pylist() == pictures


@pytest.mark.parametrize("compression", ["zstd", "snappy"])
def test_damage_within_a_file_is_told_of_it_and_no_copy_is_left(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(made(), path, compression=compression, row_group_size=300)
    chunk = parquet.read_metadata(path).row_group(2).column(1)
    data = bytearray(path.read_bytes())
    first = chunk.dictionary_page_offset or chunk.data_page_offset
    data[first : first + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(data)
    source = open_source(path)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as parquet \(") as caught:
        source.write(source.shards[0], np.ones(1000, dtype=bool), tmp_path / "to")
    assert str(path) in str(caught.value)
    assert list((tmp_path / "to").iterdir()) == []
    batches = source.batches(source.shards[0])
    assert [next(batches).num_rows for _ in range(2)] == [300, 300]  # row groups before it
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as parquet \("):
        next(batches)


def test_a_full_disk_is_told_of_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet.write_table(made(), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables_of_parquet, "_flush", full)
    with pytest.raises(UserError, match=r"cannot write .*to/a\.parquet: No space left on device; free some"):
        source.write(source.shards[0], np.ones(1000, dtype=bool), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []
