"""Tasks and pieces: where they end, how they are numbered, and how far a task has come."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from robustcmr.audit.parts import (
    Task,
    all_pieces,
    cut,
    first_key,
    piece_name,
    plan_tasks,
    reached,
    read_about,
    write_piece,
)
from robustcmr.errors import DataError
from robustcmr.sources.records import Shard


def shards(*rows, size=0):
    return [Shard(n, Path(f"{n}.parquet"), count, size) for n, count in enumerate(rows)]


def test_shards_are_grouped_in_order_to_about_a_piece():
    tasks = plan_tasks(shards(40, 50, 30, 500, 10, 90, 1), piece=100)
    assert [task.shards for task in tasks] == [(0, 1), (2,), (3,), (4, 5), (6,)]
    assert [task.number for task in tasks] == [0, 1, 2, 3, 4]
    unknown = plan_tasks(shards(None, None, None, size=40 * 2**20))
    assert [task.shards for task in unknown] == [(0,), (1,), (2,)]


def table(rows, images):
    return pa.table(
        {
            "shard": pa.array([0] * len(rows), pa.int32()),
            "row": pa.array(rows, pa.int64()),
            "image": pa.array(images, pa.string()),
        }
    )


def test_a_piece_ends_between_two_pictures():
    rows = table([0, 1, 2, 3, 4, 5], ["a", "a", "b", "b", "c", "c"])
    assert cut(rows, 6) is None
    assert [cut(rows, at_most) for at_most in (5, 4, 3, 2)] == [4, 4, 2, 2]
    assert cut(rows, 1) == 1  # within a picture, as it alone has more


def test_a_row_of_many_captions_stays_whole():
    rows = table([0, 0, 0, 0, 1], ["a", "a", "a", "a", "b"])
    assert cut(rows, 2) == 4
    assert cut(rows.slice(0, 4), 2) is None  # its next caption may follow
    assert cut(table([0, 1, 2], [None, None, None]), 2) == 2


def test_keys_order_pieces_and_their_rows():
    keys = [first_key(task, piece) + row for task in (0, 1, 70_000) for piece in (0, 3) for row in (0, 5)]
    assert keys == sorted(set(keys))
    assert 0 <= min(keys) <= max(keys) < 2**63
    names = [piece_name(task, piece) for task in (0, 9, 10, 70_000) for piece in (0, 9, 10)]
    assert names == sorted(names)


def test_finished_pieces_are_counted(tmp_path):
    task = Task(3, (5, 6))
    assert reached(tmp_path, task).shard == 5
    for number, done in enumerate((False, True)):
        about = {"pairs": 2 + number, "shard": 6, "row": 7, "done": done}
        write_piece(tmp_path / f"{piece_name(3, number)}.parquet", pa.table({"a": [1]}), about)
        found = reached(tmp_path, task)
        assert (found.pieces, found.shard, found.row, found.done) == (number + 1, 6, 7, done)
    first, second = all_pieces(tmp_path, [task])
    assert (first.rows, second.rows) == (slice(0, 2), slice(2, 5))
    np.testing.assert_equal(second.first_key, first_key(3, 1))


def test_a_damaged_piece_is_reported(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 torn")
    with pytest.raises(DataError, match="is damaged; begin the audit again with --restart"):
        read_about(path)
