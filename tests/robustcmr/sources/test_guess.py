"""Formats and columns are guessed and said; what cannot be opened is told in one sentence."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from robustcmr.errors import UserError
from robustcmr.sources import open_source
from robustcmr.sources.columns import choose
from robustcmr.sources.guess import FORMATS
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Columns

TABLE = pa.table({"uid": ["a"], "url": ["b"], "caption": ["c"]})


def make_parquet(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(TABLE, path)


def make_arrow(path: Path) -> None:
    feather.write_feather(TABLE, path)


def make_jsonl(path: Path) -> None:
    path.write_text('{"uid": "a", "url": "b", "caption": "c"}\n')


def make_csv(path: Path) -> None:
    path.write_text("uid,url,caption\na,b,c\n")


@pytest.mark.parametrize(
    ("make", "name", "format"),
    [
        (make_parquet, "a.parquet", "parquet"),
        (make_parquet, "part-0000", "parquet"),  # by its first bytes
        (make_arrow, "a.arrow", "arrow"),
        (make_arrow, "a.feather", "arrow"),
        (make_arrow, "rows", "arrow"),
        (make_jsonl, "a.jsonl", "jsonl"),
        (make_jsonl, "a.ndjson", "jsonl"),
        (make_jsonl, "a.json", "jsonl"),
        (make_csv, "a.csv", "csv"),
        (make_csv, "A.CSV", "csv"),
        (make_csv, "a.tsv", "csv"),
        (make_csv, "a.txt", "csv"),
    ],
)
def test_the_format_of_a_file_is_guessed_and_said(
    tmp_path: Path, make: Callable[[Path], None], name: str, format: str
) -> None:
    make(tmp_path / name)
    source = open_source(tmp_path / name)
    assert source.format == format
    assert source.says[0].startswith(f"Read as {format}: 1 file")
    assert (source.columns.image, source.columns.text, source.columns.id) == ("url", "caption", "uid")
    assert any("image = url, text = caption, id = uid" in said for said in source.says)
    if not name.startswith(("part", "rows", "a.txt")):  # a folder of such files
        assert open_source(tmp_path).format == format
    named = open_source(tmp_path / name, format=format)
    assert not any("Read as" in said for said in named.says)


def test_files_folders_and_patterns_are_one_source(tmp_path: Path) -> None:
    for name in ("x/1", "x/2", "x/10", "y/deep/3", "z"):
        make_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "x" / "_SUCCESS").write_text("")
    (tmp_path / "x" / ".hidden").mkdir()
    make_parquet(tmp_path / "x" / ".hidden" / "4.parquet")
    (tmp_path / "x" / "notes.txt").write_text("not a table")

    def names(*paths: Any) -> list[str]:
        return [shard.path.stem for shard in open_source(list(paths)).shards]

    assert names(tmp_path / "x") == ["1", "2", "10"]
    assert names(tmp_path) == ["1", "2", "10", "3", "z"]
    assert names(f"{tmp_path}/*/*.parquet") == ["1", "10", "2"]
    assert (
        names(f"{tmp_path}/**/*.parquet") == ["z", "1", "10", "2", "3"]
        or len(names(f"{tmp_path}/**/*.parquet")) == 5
    )
    assert names(tmp_path / "z.parquet", tmp_path / "x", tmp_path / "x" / "1.parquet") == [
        "z",
        "1",
        "2",
        "10",
    ]
    assert open_source(f"{tmp_path}/x").root == tmp_path / "x"
    assert open_source([tmp_path / "x" / "1.parquet", tmp_path / "z.parquet"]).root == tmp_path


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    make_parquet(tmp_path / "a[1].parquet")
    make_parquet(tmp_path / "a1.parquet")
    assert [shard.path.name for shard in open_source(tmp_path / "a[1].parquet").shards] == ["a[1].parquet"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["url", "caption"], ("url", "caption", None)),
        (["SAMPLE_ID", "URL", "TEXT"], ("URL", "TEXT", "SAMPLE_ID")),
        (["uid", "url", "text", "original_width", "sha256"], ("url", "text", "uid")),
        (["image_path", "alt_text", "sha256"], ("image_path", "alt_text", "sha256")),
        (["file_name", "text"], ("file_name", "text", None)),
        (["image", "url", "caption", "title"], ("image", "caption", None)),
        (["Image Path", "Caption"], ("Image Path", "Caption", None)),
        (["image_id", "id", "caption"], ("image_id", "caption", "id")),
        (["imageUrl", "sentences", "key"], ("imageUrl", "sentences", "key")),
    ],
)
def test_usual_names_of_columns(names: list[str], expected: tuple[str, str, str | None]) -> None:
    schema = pa.schema([(name, pa.string()) for name in names])
    columns, _ = choose(schema, Columns(), Path("x"))
    assert (columns.image, columns.text, columns.id) == expected


def test_a_column_of_another_type_is_not_guessed() -> None:
    schema = pa.schema(
        [("caption", pa.float32()), ("text", pa.string()), ("image", pa.float64()), ("url", "string")]
    )
    columns, _ = choose(schema, Columns(), Path("x"))
    assert (columns.image, columns.text) == ("url", "text")


def test_named_columns_are_used_and_the_others_guessed(tmp_path: Path) -> None:
    table = pa.table({"a": ["x"], "b": ["y"], "caption": ["z"], "id": [1]})
    parquet.write_table(table, tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet", text="b", image="caption")
    assert (source.columns.image, source.columns.text, source.columns.id) == ("caption", "b", "id")


def bad_inputs(folder: Path) -> dict[str, tuple[Any, dict[str, Any], str]]:
    """Inputs that cannot be opened: what is given, with which options, and what is said."""
    make_parquet(folder / "good.parquet")
    data = (folder / "good.parquet").read_bytes()
    (folder / "empty.parquet").write_bytes(b"")
    (folder / "cut.parquet").write_bytes(data[:-20])
    (folder / "lies.parquet").write_bytes(b"id,text\n1,a\n")
    (folder / "damaged.parquet").write_bytes(data[:4] + b"\xff" * (len(data) - 12) + data[-8:])
    (folder / "encrypted.parquet").write_bytes(b"PARE" + data[4:])
    parquet.write_table(TABLE.rename_columns(["uid", "url", "txt"]), folder / "other.parquet")
    parquet.write_table(TABLE.rename_columns(["x", "y", "y"]), folder / "twice.parquet")
    parquet.write_table(TABLE.rename_columns(["x", "y", "z"]), folder / "unnamed.parquet")
    parquet.write_table(pa.table({"image": ["a"], "caption": [[["a"]]]}), folder / "nested.parquet")
    parquet.write_table(pa.table({"image": [1.5], "caption": ["a"]}), folder / "number.parquet")
    parquet.write_table(TABLE.rename_columns(["id", "text", "__problem__"]), folder / "problem.parquet")
    (folder / "folder.parquet").mkdir()
    (folder / "empty").mkdir()
    (folder / "notes").mkdir()
    (folder / "notes" / "readme.md").write_text("# Notes")
    (folder / "some.docx").write_bytes(b"PK\x03\x04 and more")
    os.mkfifo(folder / "pipe.parquet")
    good = folder / "good.parquet"
    return {
        "nothing given": ([], {}, "no file was given; name files"),
        "no such file": (folder / "good.parket", {}, "there is no file or folder"),
        "no such file, but a like one": (folder / "god.parquet", {}, "did you mean 'good.parquet'?"),
        "a name of the hub": ("owner/name", {}, "or write hf://owner/name for a data set of the hub"),
        "no file of the pattern": (f"{folder}/*.tar.xz", {}, "no file matches"),
        "unknown format": (
            good,
            {"format": "parkett"},
            "there is no format 'parkett'; did you mean 'parquet'?",
        ),
        "wrong column": (good, {"text": "captoin"}, "no column 'captoin'; did you mean 'caption'?"),
        "wrong image column": (good, {"image": "URL"}, "has no column 'URL'; did you mean 'url'?"),
        "empty file": (
            folder / "empty.parquet",
            {"format": "parquet"},
            "is empty, expected a file with rows",
        ),
        "cut off": (folder / "cut.parquet", {}, "it starts as parquet, but has no footer"),
        "no parquet": (
            folder / "lies.parquet",
            {"format": "parquet"},
            "is no parquet file: it starts with b'id,t'",
        ),
        "damaged": (folder / "damaged.parquet", {}, "cannot be read as parquet ("),
        "encrypted": (folder / "encrypted.parquet", {}, "is encrypted, expected plain parquet"),
        "other columns": ([good, folder / "other.parquet"], {}, "it lacks caption and also has txt"),
        "a name twice": (folder / "twice.parquet", {}, "has 2 columns named 'y'"),
        "no usual names": (
            folder / "unnamed.parquet",
            {},
            "it has the columns x, y, z; name the one with captions",
        ),
        "nested captions": (
            folder / "nested.parquet",
            {"text": "caption"},
            "holds list<element: list<element: str",
        ),
        "numbers as pictures": (
            folder / "number.parquet",
            {"image": "image"},
            "holds double, expected text, whole",
        ),
        "a folder as a file": (folder / "folder.parquet", {}, "(the folder is empty)"),
        "an empty folder": (
            folder / "empty",
            {"format": "parquet"},
            "has no parquet files; expected names that end",
        ),
        "a folder of others": (folder / "notes", {}, "(the folder holds readme.md)"),
        "a file of no format": (folder / "some.docx", {}, "is of no format that is read"),
        "a column of damaged rows": (folder / "problem.parquet", {}, "named '__problem__', which is kept"),
        "a pipe": (
            folder / "pipe.parquet",
            {"format": "parquet"},
            "it is a named pipe, expected a regular file",
        ),
        "a name with NUL": (f"{folder}/a\0b", {}, "there is no file or folder"),
    }


def test_bad_input_is_told_in_one_sentence(tmp_path: Path) -> None:
    for case, (paths, options, said) in bad_inputs(tmp_path).items():
        with pytest.raises(UserError) as caught:
            open_source(paths, **options)
        assert said in str(caught.value), case
        assert "\n" not in str(caught.value), case


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    make_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").chmod(0)
    with pytest.raises(UserError, match="Permission denied; check the permissions"):
        open_source(tmp_path / "a.parquet", format="parquet")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are UTF-8 there")
def test_a_name_that_is_not_utf8_is_shown_with_escapes(tmp_path: Path) -> None:
    for make, suffix in ((make_parquet, ".parquet"), (make_arrow, ".arrow"), (make_csv, ".csv")):
        make(tmp_path / f"a{suffix}")
        (tmp_path / f"a{suffix}").rename(tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode()))
        source = open_source(tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode()))
        source = dataclasses.replace(source, columns=Columns("url", "caption"))
        (batch,) = pairs(source, source.shards[0])
        assert batch.column("id").to_pylist() == ["caf\\udce9:0"]


def test_each_format_has_its_module() -> None:
    for module in FORMATS.values():
        loaded = importlib.import_module(f"robustcmr.sources.{module}")
        assert callable(loaded.recognises)
        assert callable(loaded.open)
