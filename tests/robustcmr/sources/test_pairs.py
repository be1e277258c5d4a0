"""Rows as pairs: captions one by one, keys, ids, problems; against plain loops in Python."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from robustcmr.errors import DataError
from robustcmr.sources import open_source
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import PAIRS, Source


def write(path: Path, columns: dict[str, Any] | pa.Table, **options: Any) -> Source:
    parquet.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path)
    return open_source(path, **options)


def rows_of(source: Source, **options: Any) -> list[dict[str, Any]]:
    found = []
    for shard in source.shards:
        for batch in pairs(source, shard, **options):
            assert batch.schema == PAIRS
            batch.validate(full=True)
            found += batch.to_pylist()
    return found


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.string()),
        pa.large_list(pa.large_string()),
        pa.list_(pa.string_view()),
        pa.list_(pa.binary()),
        pa.list_(pa.dictionary(pa.int32(), pa.string())),
    ],
)
def test_lists_of_captions_are_pairs_in_order(tmp_path: Path, kind: pa.DataType) -> None:
    captions: list[Any] = [["a", "b"], [], None, ["c"], ["d", None, " "], ["e", "f", "g"]]
    column = pa.array(captions, pa.list_(pa.string())).cast(kind)
    source = write(tmp_path / "a.parquet", {"image": list("uvwxyz"), "captions": column, "uid": range(6)})
    expected = [
        (f"{row}#{part}", "uvwxyz"[row], caption, row, part)
        for row, several in enumerate(captions)
        for part, caption in enumerate(several or [None])
    ]
    found = rows_of(source)
    assert [(one["id"], one["image"], one["caption"], one["row"], one["part"]) for one in found] == expected
    problems = {(one["row"], one["part"]): one["problem"] for one in found if one["problem"]}
    assert problems == {
        (1, 0): "missing caption",
        (2, 0): "missing caption",
        (4, 1): "missing caption",
        (4, 2): "empty caption",
    }
    assert [one["row"] for one in rows_of(source, start=3)] == [3, 4, 4, 4, 5, 5, 5]


def test_pairs_from_a_row_are_those_of_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    captions = [[f"c {row} {part}" for part in range(rng.integers(4))] for row in range(500)]
    table = pa.table({"image": [f"i{row}" for row in range(500)], "captions": captions, "n": range(500)})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=77)
    source = open_source(tmp_path / "a.parquet")
    for where in (None, "n % 3 = 0"):
        whole = rows_of(source, where=where)
        for start in (0, 1, 76, 77, 300, 499, 500):
            expected = [one for one in whole if one["row"] >= start]
            assert rows_of(source, start=start, where=where) == expected


def test_ids_are_kept_or_made(tmp_path: Path) -> None:
    for name in ("x/part-0", "y/part-0", "y/part-1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        parquet.write_table(
            pa.table({"image": ["a", "b"], "caption": ["c", "d"]}), tmp_path / f"{name}.parquet"
        )
    source = open_source(tmp_path)
    assert [one["id"] for one in rows_of(source)] == [
        *("x/part-0:0", "x/part-0:1", "y/part-0:0", "y/part-0:1"),
        *("part-1:0", "part-1:1"),
    ]
    assert any("ids are made from file and row" in said for said in source.says)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([7, None, 2**60], pa.int64()), ["7", "a:1", str(2**60)]),
        (pa.array([7.0, None, 9.0]), ["7", "a:1", "9"]),
        (pa.array([7.0, np.nan, 9.0]), ["7", "a:1", "9"]),
        (pa.array([7.0, np.nan, 1.5]), ["7", "a:1", "1.5"]),  # whatever else is in a batch
        (pa.array([2.0**62, None, 1e300]), [str(2**62), "a:1", "1e+300"]),
        (pa.array(["k", "", "l"]).dictionary_encode(), ["k", "a:1", "l"]),
        (pa.array([b"k", b"\xff", b"l"]), ["k", "a:1", "l"]),
        (pa.array([b"\x01\x02", None, b"\xfe\xff"], pa.binary(2)), ["0102", "a:1", "feff"]),
        (pa.array([bytes(16), None, bytes(15) + b"a"], pa.uuid()), ["0" * 32, "a:1", "0" * 30 + "61"]),
    ],
)
def test_ids_of_all_types(tmp_path: Path, ids: pa.Array, expected: list[str]) -> None:
    source = write(tmp_path / "a.parquet", {"image": list("uvw"), "caption": list("abc"), "uid": ids})
    found = rows_of(source)
    assert [one["id"] for one in found] == expected
    assert [one["problem"] for one in found] == [None, "missing id", None]


def test_keys_of_pictures(tmp_path: Path) -> None:
    data = [b"one", b"two", b"one", b"", None]
    hashes = [hashlib.blake2b(one, digest_size=16).hexdigest() if one else None for one in data]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    paths = [None, "p1", "p2", "p3", "p4"]
    structs = pa.array([{"bytes": one, "path": path} for one, path in zip(data, paths, strict=True)], struct)
    columns = {
        "bytes": (pa.array(data), hashes),
        "large": (pa.array(data, pa.large_binary()), hashes),
        "struct": (structs, [*hashes[:3], "p3", "p4"]),
        "numbers": (pa.array([5, 6, 5, None, 7]), ["5", "6", "5", None, "7"]),
        "text": (
            pa.array(["a.jpg#0", "a.jpg#12", "b.jpg#1x", "", None]),
            ["a.jpg", "a.jpg", "b.jpg#1x", "", None],
        ),
        "address": (pa.array(["http://x/a.JPG#1"] * 5), ["http://x/a.JPG"] * 5),
    }
    table = pa.table({name: column for name, (column, _) in columns.items()} | {"caption": list("abcde")})
    for name, (_, expected) in columns.items():
        found = rows_of(write(tmp_path / f"{name}.parquet", table, image=name))
        assert [one["image"] for one in found] == expected, name
        missing = [one["problem"] == "missing image" for one in found]
        assert missing == [not key for key in expected], name


def test_captions_that_are_none(tmp_path: Path) -> None:
    captions = ["fine", None, "", " \t\u3000", "nan", "NaN", " None ", "null", "<NA>", "nanny", "none of it"]
    source = write(tmp_path / "a.parquet", {"image": ["i"] * 11, "caption": captions})
    assert [one["problem"] for one in rows_of(source)] == [
        *(None, "missing caption", "empty caption", "empty caption"),
        *["missing caption"] * 5,
        *(None, None),
    ]
    # a column without any caption
    source = write(tmp_path / "b.parquet", {"image": ["i"] * 3, "caption": pa.nulls(3)})
    assert [one["problem"] for one in rows_of(source)] == ["missing caption"] * 3


def test_captions_that_are_not_utf8_are_missing(tmp_path: Path) -> None:
    text = pa.array([b"good", b"caf\xe9", b"fine"]).view(pa.string())
    source = write(tmp_path / "a.parquet", {"image": list("abc"), "caption": text})
    found = rows_of(source)
    assert [one["caption"] for one in found] == ["good", None, "fine"]
    assert [one["problem"] for one in found] == [None, "missing caption", None]


def test_without_an_image_column_each_row_is_a_picture(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", {"captions": [["a", "b"], ["c"]]})
    assert [one["image"] for one in rows_of(source)] == ["a:0", "a:0", "a:1"]
    assert any("every row counts as a picture of its own" in said for said in source.says)
    with pytest.raises(DataError, match="has no image column, so there are no pictures"):
        list(source.pictures(source.shards[0]))


def test_picture_files_are_looked_for_beside_the_table(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    png = b"\x89PNG\r\n\x1a\n and more"
    (tmp_path / "img" / "here.png").write_bytes(png)
    (tmp_path / "secret").write_bytes(b"root:x:0:0")
    (tmp_path / "img" / "none.png").write_bytes(b"")
    names = ["img/here.png", "img/gone.png", "https://x/y.png", None, "img", "img/none.png", "a\0b"]
    names += [str(tmp_path / "img" / "here.png"), "secret"]
    source = write(tmp_path / "a.parquet", {"image": names, "caption": ["c"] * 9})
    assert [one["problem"] for one in rows_of(source)] == [*[None] * 3, "missing image", *[None] * 5]
    gone = "missing picture file"
    assert [one["problem"] for one in rows_of(source, need_pictures=True)] == [
        *(None, gone, "only an address is known", "missing image", gone, gone, gone, None, None)
    ]
    found = list(source.pictures(source.shards[0]))
    assert [picture.data for picture in found] == [png, *[None] * 6, png, None]
    assert [picture.problem for picture in found] == [
        *(None, gone, "only an address is known", "missing image"),
        *("unreadable picture file: Is a directory; name a file, not a folder", "empty picture file"),
        *("unreadable picture file: no file can have such a name; check the path", None, "no picture file"),
    ]
    some = list(source.pictures(source.shards[0], np.array([0, 7])))
    assert [(picture.row, picture.data) for picture in some] == [(0, png), (7, png)]
    assert list(source.pictures(source.shards[0], np.array([], np.int64))) == []


def test_pictures_of_some_rows_come_from_all_batches(tmp_path: Path) -> None:
    data = [b"%d" % row for row in range(40_000)]
    source = write(tmp_path / "a.parquet", {"jpg": data, "caption": ["c"] * 40_000})
    rows = np.array([0, 16_383, 16_384, 20_000, 39_999])
    found = list(source.pictures(source.shards[0], rows))
    assert [(picture.row, picture.data) for picture in found] == [(row, data[row]) for row in rows]
    found = list(source.pictures(source.shards[0], rows[3:]))
    assert [picture.data for picture in found] == [data[20_000], data[39_999]]


def test_only_columns_of_the_pair_and_the_condition_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {name: ["a"] * 3 for name in ("image", "caption", "note", "other")}
    source = write(tmp_path / "a.parquet", {**columns, "n": [1, 2, 3]})
    read: list[set[str]] = []
    narrow = type(source).narrow

    def watched(self: Source, shard: Any, start: int, names: Any) -> Any:
        read.append(set(names))
        return narrow(self, shard, start, names)

    monkeypatch.setattr(type(source), "narrow", watched)
    rows_of(source)
    rows_of(source, where="n > 1 and note is not null")
    assert read == [{"image", "caption"}, {"image", "caption", "n", "note"}]
