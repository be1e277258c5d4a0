"""The file of rematches, read back by the csv module."""

import csv

import numpy as np
import pytest

from robustcmr.errors import UserError
from robustcmr.runs.rematches_table import RematchesTable


def table(n=2):
    """Two suspects, the second without a suggestion."""
    columns = {
        "pair": np.array([3, 7]),
        "caption": ['a "red" box,\nsmall', "a cup"],
        "image": np.array([1, 2]),
        "image_name": ["one", "two"],
        "clean_probability": np.array([0.25, 0.0]),
        "rematch": np.array([5, -1]),
        "rematch_name": ["five", ""],
        "score": np.array([0.1, 0.2]),
        "rematch_score": np.array([0.4, np.nan]),
        "rank": np.array([2, 0]),
        "share": np.array([0.75, np.nan]),
        "share_margin": np.array([0.5, np.nan]),
        "moved": np.array([1 / 3, 0.0]),
    }
    return RematchesTable(**{name: column[:n] for name, column in columns.items()})


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_rows_are_written_as_they_are(tmp_path):
    path = tmp_path / "new" / "rematches.csv"
    table().write(path)
    header, first, second = read(path)
    assert header == [column.name for column in RematchesTable.columns if column.name != "id"]
    assert first[:7] == ["3", 'a "red" box,\nsmall', "1", "one", "0.25", "5", "five"]
    assert first[7:] == ["0.1", "0.4", "0.3", "2", "0.75", "0.5", "0.333333"]
    assert second == ["7", "a cup", "2", "two", "0.0", "", "", "0.2", "", "", "", "", "", "0.0"]
    assert [child.name for child in path.parent.iterdir()] == ["rematches.csv"]


def test_no_suspects_leave_a_header(tmp_path):
    table(0).write(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv") == [
        [column.name for column in RematchesTable.columns if column.name != "id"]
    ]
    assert len(table()) == 2


def test_columns_must_be_as_long(tmp_path):
    with pytest.raises(ValueError, match="share has 1 entries for 2 pairs"):
        RematchesTable(**{**vars(table()), "share": np.zeros(1)})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        table().write(tmp_path / "file" / "a.csv")
