"""Chosen pairs in another format: every format against its own library."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from robustcmr.errors import ConfigError, DataError
from robustcmr.sources import open_source, table_writers
from robustcmr.sources.convert import convert
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Source


@dataclass(frozen=True)
class Some:
    """Chosen pairs of a shard."""

    shard: int
    rows: npt.NDArray[np.int64]
    parts: npt.NDArray[np.int32]


def sound(source: Source, seed: int = 0, share: float = 0.5) -> tuple[list[Some], list[dict[str, Any]]]:
    """Some pairs without a problem, and the same as rows of plain values."""
    rng = np.random.default_rng(seed)
    chosen, rows = [], []
    for shard in source.shards:
        table = pa.Table.from_batches(pairs(source, shard))
        keep = (rng.random(len(table)) < share) & table.column("problem").is_null().to_numpy()
        table = table.filter(pa.array(keep))
        chosen.append(Some(shard.number, table.column("row").to_numpy(), table.column("part").to_numpy()))
        rows += table.to_pylist()
    return chosen, rows


def read_back(folder: Path, format: str) -> list[dict[str, Any]]:
    if format == "parquet":
        return parquet.read_table(folder).to_pylist()
    if format == "hf":
        return list(datasets.load_from_disk(str(folder)))
    if format == "csv":
        with (folder / "pairs.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]


FORMATS = ("parquet", "hf", "csv", "jsonl")


@pytest.fixture
def table() -> pa.Table:
    rows = 400
    return pa.table(
        {
            "key": [f"k{row}" for row in range(rows)],
            "url": [f"https://x/{row % 90}.jpg" for row in range(rows)],
            "captions": [
                [f"one {row}", 'two, "quoted"', "", "three\nlines é"][: row % 5] for row in range(rows)
            ],
            "width": pa.array([None if row % 7 == 0 else row for row in range(rows)], pa.int32()),
            "tags": [["a", "b"][: row % 3] for row in range(rows)],
            "id": [f"another {row}" for row in range(rows)],
        }
    )


@pytest.mark.parametrize("format", FORMATS)
def test_pairs_and_all_other_columns_are_written(tmp_path: Path, table: pa.Table, format: str) -> None:
    for number in range(2):
        parquet.write_table(
            table.slice(200 * number, 200), tmp_path / f"a{number}.parquet", row_group_size=64
        )
    source = open_source([tmp_path / "a0.parquet", tmp_path / "a1.parquet"], id="key")
    chosen, rows = sound(source)
    written = convert(source, chosen, tmp_path / "to", format)
    before = table.to_pylist()
    expected = [
        {
            "id": row["id"],
            "image": row["image"],
            "caption": row["caption"],
            "width": before[200 * row["shard"] + row["row"]]["width"],
            "tags": before[200 * row["shard"] + row["row"]]["tags"],
            "id_of_source": before[200 * row["shard"] + row["row"]]["id"],
        }
        for row in rows
    ]
    if format == "csv":
        for row in expected:
            row |= {
                "width": "" if row["width"] is None else str(row["width"]),
                "tags": json.dumps(row["tags"]),
            }
    assert read_back(tmp_path / "to", format) == expected
    assert written.rows == len(rows)
    assert set(written.files) == set((tmp_path / "to").iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_is_a_source_of_the_same_pairs(tmp_path: Path, table: pa.Table, format: str) -> None:
    parquet.write_table(table, tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet", id="key")
    chosen, rows = sound(source)
    convert(source, chosen, tmp_path / "to", format)
    again = open_source(tmp_path / "to")
    assert again.format == format
    found = [row for shard in again.shards for batch in pairs(again, shard) for row in batch.to_pylist()]
    names = ("id", "image", "caption")
    assert [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in rows]


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("format", ["parquet", "hf"])
def test_pictures_of_a_saved_data_set_stay_pictures(tmp_path: Path, format: str) -> None:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    made = {
        "image": [{"bytes": picture(number), "path": None} for number in range(20)],
        "caption": [f"c {number}" for number in range(20)],
        "label": [number % 2 for number in range(20)],
    }
    datasets.Dataset.from_dict(made, features=features).save_to_disk(str(tmp_path / "in"), num_shards=2)
    source = open_source(tmp_path / "in")
    chosen, rows = sound(source)
    convert(source, chosen, tmp_path / "to", format)
    if format == "hf":
        found = datasets.load_from_disk(str(tmp_path / "to"))
    else:
        found = datasets.Dataset.from_parquet(
            [str(path) for path in sorted((tmp_path / "to").iterdir())], cache_dir=str(tmp_path / "cache")
        )
    assert found.features["image"] == datasets.Image()
    assert found.features["label"] == datasets.ClassLabel(names=["cat", "dog"])
    numbers = [int(row["caption"].removeprefix("c ")) for row in rows]
    assert [image.getpixel((0, 0)) for image in found["image"]] == [(number, 0, 0) for number in numbers]


@pytest.mark.parametrize("format", ["parquet", "hf"])
def test_pictures_of_tars_are_written_with_their_pairs(tmp_path: Path, format: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(600):  # more than are read at once
            for suffix, data in (("png", picture(number % 256)), ("txt", b"c %d" % number)):
                member = tarfile.TarInfo(f"{number:04d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    source = open_source(tmp_path / "a.tar")
    chosen, rows = sound(source)
    convert(source, chosen, tmp_path / "to", format)
    found = read_back(tmp_path / "to", "parquet") if format == "parquet" else None
    if found is None:
        loaded = datasets.load_from_disk(str(tmp_path / "to")).cast_column(
            "image", datasets.Image(decode=False)
        )
        found = list(loaded)
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert [row["image"]["bytes"] for row in found] == [
        picture(int(row["caption"].removeprefix("c ")) % 256) for row in rows
    ]


def test_columns_of_late_json_lines_are_written(tmp_path: Path) -> None:
    rows: list[Any] = [{"image": f"{row}.jpg", "caption": f"c {row}"} for row in range(1500)]
    rows[1400]["late"] = 1.5
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = open_source(tmp_path / "a.jsonl")
    chosen = [Some(0, np.arange(1300, 1500), np.zeros(200, np.int32))]
    convert(source, chosen, tmp_path / "to", "parquet")
    late = parquet.read_table(tmp_path / "to").column("late").to_pylist()
    assert late == [1.5 if row == 1400 else None for row in range(1300, 1500)]


def test_csv_is_read_by_pandas(tmp_path: Path) -> None:
    captions = ["plain", 'say "x", then', "two\nlines", "ends\r", " spaces ", "=1+1"]
    parquet.write_table(pa.table({"image": list("abcdef"), "caption": captions}), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    convert(source, [Some(0, np.arange(6), np.zeros(6, np.int32))], tmp_path / "to", "csv")
    frame = pd.read_csv(tmp_path / "to" / "pairs.csv", lineterminator="\n")
    assert frame["caption"].tolist() == captions


def test_bytes_in_text_formats_are_refused(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"jpg": [b"x"], "caption": ["c"]}), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    for format in ("csv", "jsonl"):
        with pytest.raises(DataError, match=f"'image' holds bytes, which {format} cannot"):
            convert(source, [Some(0, np.arange(1), np.zeros(1, np.int32))], tmp_path / "to", format)
    assert not (tmp_path / "to").exists() or not list((tmp_path / "to").iterdir())


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"image": ["x"], "caption": ["c"]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="no format 'parket' to write; did you mean 'parquet'"):
        convert(open_source(tmp_path / "a.parquet"), [], tmp_path / "to", "parket")


@pytest.mark.parametrize("format", FORMATS)
def test_no_pairs_give_a_file_without_rows(tmp_path: Path, table: pa.Table, format: str) -> None:
    parquet.write_table(table, tmp_path / "a.parquet")
    convert(open_source(tmp_path / "a.parquet"), [], tmp_path / "to", format)
    assert read_back(tmp_path / "to", format) == []


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_left_after_an_error(tmp_path: Path, table: pa.Table, format: str) -> None:
    parquet.write_table(table, tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    wrong = [Some(0, np.array([3, 9999]), np.zeros(2, np.int32))]
    with pytest.raises(DataError, match="has 1 of the 2 pairs to write; it has changed"):
        convert(source, wrong, tmp_path / "to", format)
    assert not (tmp_path / "to").exists() or not list((tmp_path / "to").iterdir())


@pytest.mark.parametrize("format", ["parquet", "hf"])
def test_many_pairs_are_written_into_several_files(
    tmp_path: Path, table: pa.Table, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_writers, "GROUP_ROWS", 50)
    monkeypatch.setattr(table_writers, "FILE_BYTES", 1)
    for number in range(4):
        parquet.write_table(table.slice(100 * number, 100), tmp_path / f"a{number}.parquet")
    source = open_source([tmp_path / f"a{number}.parquet" for number in range(4)], id="key")
    chosen, rows = sound(source)
    written = convert(source, chosen, tmp_path / "to", format)
    assert len([path for path in written.files if path.suffix in (".parquet", ".arrow")]) == 4
    assert [row["id"] for row in read_back(tmp_path / "to", format)] == [row["id"] for row in rows]
    chosen[3] = Some(3, np.array([9999]), np.zeros(1, np.int32))
    with pytest.raises(DataError, match="has 0 of the 1 pairs to write"):
        convert(source, chosen, tmp_path / "wrong", format)
    assert list((tmp_path / "wrong").iterdir()) == []
