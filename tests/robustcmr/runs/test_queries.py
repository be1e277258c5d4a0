"""Outcomes of single queries come back as they were written, and damage is told."""

import numpy as np
import pytest

from robustcmr.errors import RunFolderError
from robustcmr.runs.queries import read_queries, write_queries


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "queries-test.npz"
    ranks = {"i2t_rank": np.array([1, 7]), "t2i_rank": np.arange(1, 11), "t2i_image": np.arange(10) // 5}
    write_queries(path, ranks)
    found = read_queries(path)
    assert list(found) == list(ranks)
    for name, array in ranks.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    write_queries(path, {"i2t_ap": np.array([50.0, np.nan]), "t2i_ap": np.array([100.0, 0.5])})
    np.testing.assert_array_equal(read_queries(path)["i2t_ap"], [50.0, np.nan])
    assert [file.name for file in tmp_path.iterdir()] == ["queries-test.npz"]


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", None])
def test_missing_and_damaged_files_are_told(tmp_path, content):
    path = tmp_path / "queries-test.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunFolderError, match="is missing" if content is None else "is damaged"):
        read_queries(path)


def test_a_cut_off_file_and_one_with_objects_are_damaged(tmp_path):
    path = tmp_path / "queries-test.npz"
    write_queries(path, {"i2t_rank": np.arange(100)})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RunFolderError, match="is damaged"):
        read_queries(path)
    np.savez(path, i2t_rank=np.array([{}], dtype=object))
    with pytest.raises(RunFolderError, match="is damaged"):
        read_queries(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"t2i_image": np.array([0, 2**40])},  # memory would be taken for as many images
        {"t2i_image": np.array([0, -1])},
        {"t2i_image": np.array([0])},
        {"t2i_rank": np.array(["1", "2"])},
        {"t2i_rank": np.array([[1], [2]])},
        {"i2t_rank": np.zeros(0, np.int64)},
        {"other": np.arange(3)},
    ],
)
def test_arrays_of_another_form_are_damage(tmp_path, changes):
    ranks = {"i2t_rank": np.array([1, 7]), "t2i_rank": np.array([1, 2]), "t2i_image": np.array([0, 1])}
    write_queries(tmp_path / "a.npz", {**ranks, **changes})
    with pytest.raises(RunFolderError, match="is damaged"):
        read_queries(tmp_path / "a.npz")
