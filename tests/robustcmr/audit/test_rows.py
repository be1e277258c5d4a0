"""Pieces of rows: the same whatever the batches and wherever they were stopped; codes by another library."""

import hashlib
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.audit.captions import plain, saying_nothing, template
from robustcmr.audit.parts import Task
from robustcmr.audit.rows import write_rows
from robustcmr.sources.records import PAIRS

CAPTIONS = ["A dog, running!", "a DOG running", "Été à Paris", "photo 12", "IMG_0012.jpg", "?!", "", None]


def source(count=40, shards=2):
    return SimpleNamespace(shards=list(range(shards)), count=count)


def reader(batch):
    def read(found, shard, start=0, where=None, need_pictures=False):
        rows = [
            (f"{shard}-{row}", f"i{row // 3}", CAPTIONS[row % len(CAPTIONS)], shard, row, part, None)
            for row in range(start, found.count)
            for part in range(1 + row % 2)
        ]
        for first in range(0, len(rows), batch):
            columns = zip(*rows[first : first + batch], strict=True)
            arrays = [pa.array(list(column), kind) for column, kind in zip(columns, PAIRS.types, strict=True)]
            yield pa.record_batch(arrays, PAIRS)

    return read


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_batches_do_not_matter(tmp_path, batch):
    for name, size in (("a", 5), ("b", batch)):
        write_rows(source(), Task(0, (0, 1)), tmp_path / name, reader(size), piece=16)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    tables = [pq.read_table(path) for path in sorted((tmp_path / "a").iterdir())]
    assert all(len(table) <= 16 for table in tables)
    whole = pa.concat_tables(tables)
    assert len(whole) == 2 * 60
    assert whole["key"].to_pylist() == sorted(whole["key"].to_pylist())


def test_a_task_goes_on_where_it_was_stopped(tmp_path):
    write_rows(source(), Task(0, (0, 1)), tmp_path / "whole", reader(5), piece=16)
    names = sorted(contents(tmp_path / "whole"))
    counted = []
    for last in range(len(names)):  # the last pieces are lost one after the other
        folder = tmp_path / str(last)
        folder.mkdir()
        for name in names[:last]:
            (folder / name).write_bytes(contents(tmp_path / "whole")[name])
        write_rows(source(), Task(0, (0, 1)), folder, reader(9), piece=16, progress=counted.append)
        assert contents(folder) == contents(tmp_path / "whole")
    counted.clear()
    write_rows(source(), Task(0, (0, 1)), tmp_path / "whole", reader(9), piece=16, progress=counted.append)
    assert counted == []  # nothing was left to do


def test_codes_are_those_of_sha1(tmp_path):
    write_rows(source(8, 1), Task(0, (0,)), tmp_path, reader(5))
    rows = pq.read_table(next(tmp_path.iterdir())).to_pylist()

    def code(text):
        return 0 if text is None else int(hashlib.sha1(text.encode()).hexdigest()[:16], 16)

    for row in rows:
        caption = row["caption"]
        assert row["id_code"] == code(row["id"])
        assert row["image_code"] == code(row["image"])
        assert row["caption_code"] == code(caption)
        assert row["plain_code"] == code(None if caption is None else plain(caption))
        assert row["template_code"] == code(None if caption is None else template(plain(caption)))
        assert row["nothing"] == (None if caption is None else saying_nothing(caption))
    assert rows[0]["plain_code"] == rows[1]["plain_code"]
    assert rows[0]["caption_code"] != rows[1]["caption_code"]


def test_a_task_without_pairs_is_one_empty_piece(tmp_path):
    write_rows(source(0, 1), Task(4, (0,)), tmp_path, reader(5))
    (path,) = tmp_path.iterdir()
    assert pq.read_table(path).num_rows == 0
