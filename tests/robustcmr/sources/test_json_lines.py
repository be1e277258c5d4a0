"""JSON lines: read against json and pandas, written back byte for byte."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from robustcmr.errors import DataError
from robustcmr.sources import open_source
from robustcmr.sources.json_kinds import fitted, joined, kind_of
from robustcmr.sources.json_lines import JsonLines
from robustcmr.sources.pairs import pairs


def made(rows: int = 300) -> list[dict[str, Any]]:
    rng = random.Random(0)
    return [
        {
            "id": row,
            "image": f"img/{row}.jpg",
            "captions": [f"one {row}", "zwei ü", "\u2028 three"][: rng.randrange(4)],
            "score": rng.random() if row % 3 else 1,
            "ok": bool(row % 2),
            "meta": {"size": [row, {"deep": True}]},
        }
        for row in range(rows)
    ]


def write(path: Path, rows: list[Any], ascii_only: bool = False) -> Path:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def test_rows_are_those_of_json(tmp_path: Path) -> None:
    rows = made()
    source = open_source(write(tmp_path / "a.jsonl", rows))
    found = [row for batch in source.batches(source.shards[0]) for row in batch.to_pylist()]
    assert [{**row, "meta": json.loads(row["meta"])} for row in found] == rows
    assert source.schema().field("score").type == pa.float64()
    assert source.schema().field("ok").type == pa.bool_()
    later = [row for batch in source.batches(source.shards[0], 111) for row in batch.to_pylist()]
    assert later == found[111:]


def test_lists_of_captions_are_pairs_of_their_own(tmp_path: Path) -> None:
    rows = made()
    source = open_source(write(tmp_path / "a.jsonl", rows, ascii_only=True))
    found = pa.Table.from_batches(pairs(source, source.shards[0], where="score < 0.5 or id = 0")).to_pylist()
    expected = [
        (f"{row['id']}#{part}", row["image"], caption)
        for row in rows
        if row["score"] < 0.5 or row["id"] == 0
        for part, caption in enumerate(row["captions"] or [None])
    ]
    assert [(row["id"], row["image"], row["caption"]) for row in found] == expected


@pytest.mark.parametrize("packed", [False, True])
def test_kept_lines_are_written_byte_for_byte(tmp_path: Path, packed: bool) -> None:
    lines = [
        json.dumps(
            row, separators=(",", ": ") if row["id"] % 2 else None, ensure_ascii=row["id"] % 3 == 0
        ).encode()
        + (b"\r\n" if row["id"] % 5 == 0 else b"\n")
        for row in made()
    ]
    data = b"\xef\xbb\xbf" + b"".join(lines)
    path = tmp_path / "a.jsonl.gz" if packed else tmp_path / "a.jsonl"
    path.write_bytes(gzip.compress(data) if packed else data)
    source = open_source(path)
    keep = np.random.default_rng(0).random(300) < 0.3
    (out,) = source.write(source.shards[0], keep, tmp_path / "to")
    found = gzip.decompress(out.read_bytes()) if packed else out.read_bytes()
    assert found == b"\xef\xbb\xbf" + b"".join(line for line, kept in zip(lines, keep, strict=True) if kept)


def test_a_file_of_pandas(tmp_path: Path) -> None:
    frame = pd.DataFrame({"url": ["u0", "u1"], "caption": ["a, b", None], "n": [1, 2]})
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    source = open_source(tmp_path / "a.jsonl")
    found = [row for batch in source.batches(source.shards[0]) for row in batch.to_pylist()]
    assert found == frame.astype(object).where(frame.notna(), None).to_dict("records")


def test_bad_rows_are_named_and_the_others_read(tmp_path: Path) -> None:
    good = [
        json.dumps({"image": f"{row}.jpg", "caption": f"c {row}", "n": row}).encode() for row in range(40)
    ]
    bad = [
        b'{"image": "5.jpg", "caption": "cut',
        b'["a list"]',
        b'{"image": "7.jpg", "caption": "caf\xe9"}',
        b'{"image": "8.jpg", "caption": [["nested"]]}',
        b'{"image": "9.jpg", "caption": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"image": "10.jpg", "caption": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"image": "11.jpg"}',
        b'{"image": "12.jpg", "caption": NaN}',
        b'{"image": "13.jpg", "caption": "fine", "n": "text"}',
        b'{"image": "14.jpg", "caption": "\\ud83d"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*good, *bad]) + b"\n")
    source = open_source(tmp_path / "a.jsonl")
    found = pa.Table.from_batches(pairs(source, source.shards[0])).to_pylist()
    problems = {row["row"] - 35: row["problem"] for row in found if row["problem"]}
    assert len(found) == 50
    assert problems[5].startswith("unreadable row: no JSON (")
    assert problems[6] == "unreadable row: JSON of list, expected an object"
    assert problems[7] == "unreadable row: not UTF-8"
    assert problems[8] == "unreadable row: caption is a nested value, expected text"
    assert problems[9] == problems[10] == "unreadable row: it is nested more than 64 levels deep"
    assert problems[11] == problems[12] == "missing caption"
    assert 13 not in problems
    assert "lone surrogate" in problems[14]


def test_a_nested_list_among_texts_is_named(tmp_path: Path) -> None:
    rows: list[Any] = [{"image": f"{row}.jpg", "caption": f"c {row}"} for row in range(1200)]
    rows[1100]["caption"] = [["nested"]]
    source = open_source(write(tmp_path / "a.jsonl", rows))
    found = pa.Table.from_batches(pairs(source, source.shards[0])).to_pylist()
    assert [row["row"] for row in found if row["problem"]] == [1100]
    assert found[1100]["problem"] == "unreadable row: caption is a nested value, expected text"


def test_a_survey_finds_columns_of_later_rows(tmp_path: Path) -> None:
    rows: list[Any] = [{"image": f"{row}.jpg", "caption": f"c {row}", "n": row} for row in range(1200)]
    rows[1150] = {**rows[1150], "late": 1.5, "n": 0.5}
    source = open_source(write(tmp_path / "a.jsonl", rows))
    assert isinstance(source, JsonLines)
    assert "late" not in source.schema().names
    known = source.surveyed()
    found = [row for batch in known.batches(known.shards[0]) for row in batch.to_pylist()]
    assert [row["late"] for row in found] == [1.5 if row == 1150 else None for row in range(1200)]
    assert found[1150]["n"] == 0.5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ('[{"image": "a", "caption": "b"}]\n', "is not of one JSON object a line"),
        ('{\n  "image": "a",\n  "caption": "b"\n}\n', "is not of one JSON object a line"),
        ("a text\n", "holds no JSON objects: no JSON ("),
        ("5\n6\n", "holds no JSON objects: JSON of int"),
        ('{"image": "a", "caption": [["b"]]}\n', "no column of"),
        ('{"image": "a"}\n', "no column of"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(DataError) as caught:
        open_source(tmp_path / "a.jsonl")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_nested_column_cannot_be_named_as_captions(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"image": "a", "caption": [["b"]], "text": "c"}])
    assert open_source(path).columns.text == "text"
    with pytest.raises(DataError, match="expected text or lists of text; name another one"):
        open_source(path, text="caption")


def test_kinds_are_joined_alike_in_any_order() -> None:
    values = [None, True, 1, 1.5, "a", ["a"], {"a": 1}, [1], [["a"]]]
    kinds = [kind_of(value) for value in values]
    for first in kinds:
        assert joined(first, first) == first
        for second in kinds:
            both = joined(first, second)
            assert both == joined(second, first)
            assert joined(both, first) == both
    for value in values:  # what a kind holds, it also takes
        for kind in kinds:
            fitted(value, joined(kind, kind_of(value)))


def test_rows_are_counted_without_any_column(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "a.jsonl", made(7)))
    assert [batch.num_rows for batch in source.narrow(source.shards[0], 2, ())] == [5]


def test_whole_numbers_beyond_64_bits_keep_their_digits(tmp_path: Path) -> None:
    rows = [{"id": 2**63 + row, "image": "i", "caption": "c"} for row in range(3)]
    source = open_source(write(tmp_path / "a.jsonl", rows))
    found = pa.Table.from_batches(pairs(source, source.shards[0]))
    assert found.column("id").to_pylist() == [str(2**63 + row) for row in range(3)]
