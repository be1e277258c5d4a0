"""Pairs of any source become tars that the webdataset library and this project read."""

from __future__ import annotations

import datetime
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from PIL import Image

from robustcmr.errors import DataError
from robustcmr.sources import tar_writers
from robustcmr.sources.convert import convert
from robustcmr.sources.guess import open_source
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Source


@dataclass(frozen=True)
class Some:
    """Chosen pairs of a shard."""

    shard: int
    rows: npt.NDArray[np.int64]
    parts: npt.NDArray[np.int32]


def picture(number: int, kind: str = "PNG") -> bytes:
    """A small picture file."""
    file = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), number * 9 % 256, np.uint8)).save(file, kind)
    return file.getvalue()


def every(source: Source, *rows: int) -> list[Some]:
    """All pairs of these rows."""
    chosen = []
    for shard in source.shards:
        table = pa.Table.from_batches(pairs(source, shard))
        table = table.filter(pa.array(np.isin(table["row"].to_numpy(), rows)))
        chosen.append(Some(shard.number, table["row"].to_numpy(), table["part"].to_numpy()))
    return chosen


def samples(path: Path) -> list[dict[str, Any]]:
    """Read a tar with the webdataset library."""
    return [dict(sample) for sample in wds.WebDataset(str(path), shardshuffle=False, empty_check=False)]


def test_a_folder_of_pictures_becomes_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_writers, "SAMPLES", 2)
    kinds = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
    (tmp_path / "in").mkdir()
    for number, kind in enumerate(kinds):
        (tmp_path / f"in/{number}.png").write_bytes(picture(number, kind))  # whatever its name says
    lines = [f"pair {n},{n}.png,caption é {n},{n / 4}\n" for n in range(6)]
    (tmp_path / "in/captions.csv").write_text("".join(["id,image,caption,key\n", *lines]))
    source = open_source(tmp_path / "in")
    done = convert(source, every(source, 0, 1, 2, 4, 5), tmp_path / "out", "webdataset")
    assert (done.rows, done.of) == (5, 5)
    assert [path.name for path in done.files] == ["00000.tar", "00001.tar", "00002.tar"]
    found = [sample for path in done.files for sample in samples(path)]
    suffixes = ["jpg", "png", "webp", "bmp", "tif"]
    for number, suffix, sample in zip((0, 1, 2, 4, 5), suffixes, found, strict=True):
        assert sample[suffix] == picture(number, kinds[number])
        assert sample["txt"].decode() == f"caption é {number}"
        notes = json.loads(sample["json"])
        assert notes == {
            "uid": f"pair {number}",
            "key": sample["__key__"],
            "image": f"{number}.png",
            "caption": f"caption é {number}",
            "key_of_source": str(number / 4),
        }
    again = open_source(tmp_path / "out")
    batches = [batch for shard in again.shards for batch in pairs(again, shard)]
    assert pa.Table.from_batches(batches)["id"].to_pylist() == [f"pair {n}" for n in (0, 1, 2, 4, 5)]


def test_pictures_in_parquet_and_a_sample_a_caption(tmp_path: Path) -> None:
    images = [{"bytes": picture(n), "path": None} for n in range(3)]
    captions = [[f"one {n}", f"two {n}"] for n in range(3)]
    pq.write_table(
        pa.table({"image": images, "caption": captions, "when": [datetime.date(2024, 1, 2)] * 3}),
        tmp_path / "a.parquet",
    )
    source = open_source(tmp_path / "a.parquet")
    convert(source, every(source, 0, 2), tmp_path / "out", "webdataset")
    found = samples(tmp_path / "out/00000.tar")
    assert [sample["txt"].decode() for sample in found] == ["one 0", "two 0", "one 2", "two 2"]
    assert [sample["png"] for sample in found] == [picture(0), picture(0), picture(2), picture(2)]
    assert json.loads(found[3]["json"])["uid"] == "a:2#1"
    assert json.loads(found[3]["json"])["when"] == "2024-01-02"


def test_tars_from_tars(tmp_path: Path) -> None:
    with wds.TarWriter(str(tmp_path / "a.tar"), encoder=False) as tar:
        for n in range(4):
            tar.write({"__key__": f"deep/{n}", "png": picture(n), "txt": f"caption {n}".encode()})
    source = open_source(tmp_path / "a.tar")
    convert(source, every(source, 1, 3), tmp_path / "out", "webdataset")
    found = samples(tmp_path / "out/00000.tar")
    assert [sample["png"] for sample in found] == [picture(1), picture(3)]
    assert [json.loads(sample["json"])["uid"] for sample in found] == ["deep/1", "deep/3"]


def test_nothing_is_left_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_writers, "SAMPLES", 1)
    table = {"image": [picture(0), picture(1), b"no picture"], "caption": ["one", "two", "three"]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"the picture of 'a:2' is of no usual format, such as JPEG"):
        convert(source, every(source, 0, 1, 2), tmp_path / "out", "webdataset")
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))
    (tmp_path / "b.csv").write_text("url,caption\nhttp://x/1.jpg,one\n")
    source = open_source(tmp_path / "b.csv")
    with pytest.raises(DataError, match=r"has no picture .only an address is known"):
        convert(source, every(source, 0), tmp_path / "out", "webdataset")
    pq.write_table(pa.table({**table, "extra": [b"1"] * 3}), tmp_path / "c.parquet")
    source = open_source(tmp_path / "c.parquet")
    with pytest.raises(DataError, match="'extra' holds bytes, which JSON in a tar cannot"):
        convert(source, every(source, 0), tmp_path / "out", "webdataset")


def test_an_empty_choice_is_an_empty_tar(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [picture(0)], "caption": ["one"]}), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    done = convert(source, every(source), tmp_path / "out", "webdataset")
    with tarfile.open(done.files[0]) as tar:
        assert tar.getnames() == []
