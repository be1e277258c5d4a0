"""A source is read once, and everything in it is counted."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.errors import UserError
from robustcmr.sources.check import check_source
from robustcmr.sources.guess import open_source


def write(path, ids, images, captions, **others):
    pq.write_table(pa.table({"uid": ids, "url": images, "caption": captions, **others}), path)


@pytest.fixture
def shards(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    (tmp_path / "web").mkdir()
    write(tmp_path / "web" / "0.parquet", ["1", "2", "3"], ["http://a/1", "http://a/1", ""], ["x", "y", "z"])
    write(tmp_path / "web" / "1.parquet", ["1", "4", "5"], ["http://a/2"] * 3, ["x", " ", None])
    return tmp_path / "web"


def test_counts_and_every_problem(shards):
    report = check_source(open_source(shards))
    assert (report.pairs, report.images, report.captions, report.addresses) == (6, 2, 2, 5)
    assert (report.files, report.format, report.ok) == (2, "parquet", False)
    assert {(found.problem, found.pairs, found.first) for found in report.problems} == {
        ("missing image", 1, "0.parquet row 2"),
        ("empty caption", 1, "1.parquet row 1"),
        ("missing caption", 1, "1.parquet row 2"),
        ("repeated id", 1, "id 1"),
    }


def test_columns_have_roles_and_samples_are_the_first_sound_pairs(shards):
    report = check_source(open_source(shards), samples=3)
    assert [(name, role) for name, _, role in report.columns] == [
        ("uid", "id"),
        ("url", "image"),
        ("caption", "text"),
    ]
    assert [(sample.id, sample.caption) for sample in report.samples] == [("1", "x"), ("2", "y"), ("1", "x")]
    assert check_source(open_source(shards), samples=0).samples == ()


def test_a_condition_leaves_rows_out(shards):
    report = check_source(open_source(shards), where="uid IN ('2', '4')")
    assert report.pairs == 2
    assert [found.problem for found in report.problems] == ["empty caption"]
    with pytest.raises(UserError, match="uidd"):
        check_source(open_source(shards), where="uidd = '2'")


def test_a_damaged_file_is_a_problem_and_the_others_are_read(shards):
    source = open_source(shards)
    data = (shards / "1.parquet").read_bytes()
    (shards / "1.parquet").write_bytes(data[:4] + b"\0" * 60 + data[64:])
    report = check_source(source)
    assert not report.ok
    assert report.pairs >= 3
    assert any("1.parquet" in found.problem + found.first for found in report.problems)


def test_json_is_plain(shards):
    value = json.loads(json.dumps(check_source(open_source(shards)).to_dict()))
    assert value["ok"] is False
    assert value["columns"][0] == {"name": "uid", "type": "string", "role": "id"}
    assert value["problems"][0]["pairs"] == 1


def test_names_that_are_no_files(tmp_path):
    write(tmp_path / "a.parquet", ["1", "2", "3"], ["u", "v", "w"], ["a red star", "a blue star", " "])
    report = check_source(open_source(tmp_path / "a.parquet"), samples=1)
    assert (report.pairs, report.images, report.captions, report.names) == (3, 2, 2, 3)
    assert [found.problem for found in report.problems] == ["empty caption"]
    for name in ("u", "w"):
        (tmp_path / name).write_bytes(b"x")
    report = check_source(open_source(tmp_path / "a.parquet"))
    assert report.names == 0
    assert {(found.problem, found.pairs, found.first) for found in report.problems} == {
        ("missing picture file", 1, "a.parquet row 1"),
        ("empty caption", 1, "a.parquet row 2"),
    }
