"""Texts in an Arrow buffer behave as a list of strings."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

from robustcmr.data import text_column
from robustcmr.data.text_column import TextColumn

WORDS = ["a", "", "日本語", "d\ne", "f"]


@pytest.mark.parametrize("rows", [None, [4, 0, 0, 2]])
def test_it_reads_like_a_list(monkeypatch, rows):
    monkeypatch.setattr(text_column, "_AT_ONCE", 2)
    column = TextColumn(pa.array(WORDS, pa.large_string()), None if rows is None else np.array(rows))
    expected = WORDS if rows is None else [WORDS[row] for row in rows]
    assert list(column) == expected
    assert [column[i] for i in range(-len(expected), len(expected))] == expected * 2
    assert column[1:3] == expected[1:3]
    assert column[::-2] == expected[::-2]
    assert len(column) == len(expected)
    assert expected[2] in column
    assert list(pickle.loads(pickle.dumps(column))) == expected
    assert list(column.chosen(np.array([2, 1]))) == [expected[2], expected[1]]
    with pytest.raises(IndexError):
        column[len(expected)]
