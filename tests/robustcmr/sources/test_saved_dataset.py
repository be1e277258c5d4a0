"""Folders of save_to_disk: made, and loaded again, by the datasets library."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from robustcmr.errors import DataError
from robustcmr.sources import open_source
from robustcmr.sources.pairs import pairs


def made(rows: int = 60) -> datasets.Dataset:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "captions": datasets.List(datasets.Value("string")),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    pictures = [Image.new("RGB", (3, 3), (row, 0, 0)) for row in range(rows)]
    captions = [[f"c {row}", "again"][: 1 + row % 2] for row in range(rows)]
    columns = {"image": pictures, "captions": captions, "label": [row % 2 for row in range(rows)]}
    return datasets.Dataset.from_dict(columns, features=features)


def applied(folder: Path, to: Path, keep: np.ndarray) -> None:
    source = open_source(folder)
    at = 0
    for shard in source.shards:
        assert shard.rows is not None
        source.write(shard, keep[at : at + shard.rows], to)
        at += shard.rows
    source.finish(to)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_data_set_is_loaded_with_the_rows_kept(tmp_path: Path, shards: int) -> None:
    before = made()
    before.save_to_disk(str(tmp_path / "in"), num_shards=shards)
    keep = np.random.default_rng(0).random(60) < 0.4
    applied(tmp_path / "in", tmp_path / "to", keep)
    after = datasets.load_from_disk(str(tmp_path / "to"))
    expected = datasets.load_from_disk(str(tmp_path / "in")).select(np.flatnonzero(keep))
    assert after.features == before.features
    whole = datasets.load_from_disk(str(tmp_path / "in")).data.table
    assert after.data.table.equals(whole.filter(pa.array(keep)), check_metadata=True)
    assert after[3]["image"].getpixel((0, 0)) == expected[3]["image"].getpixel((0, 0))
    old, new = (json.loads((tmp_path / name / "state.json").read_text()) for name in ("in", "to"))
    assert new.pop("_fingerprint") != old.pop("_fingerprint")
    assert new == old


def test_splits_are_kept_and_counted(tmp_path: Path) -> None:
    split = {"train": made(40), "test": made(20)}
    for name, part in split.items():
        part.info.splits = datasets.splits.SplitDict(
            {one: datasets.splits.SplitInfo(one, num_bytes=5, num_examples=len(split[one])) for one in split}
        )
        part.info.dataset_size = 10
        part._split = datasets.NamedSplit(name)
    datasets.DatasetDict(split).save_to_disk(str(tmp_path / "in"), num_shards={"train": 3, "test": 1})
    keep = np.random.default_rng(0).random(60) < 0.4
    applied(tmp_path / "in", tmp_path / "to", keep)
    after = datasets.load_from_disk(str(tmp_path / "to"))
    assert list(after) == ["train", "test"]
    for name, part in (("train", keep[:40]), ("test", keep[40:])):
        expected = split[name].select(np.flatnonzero(part))
        assert after[name].to_dict() == expected.to_dict()
        assert after[name].info.splits[name].num_examples == part.sum()
        assert after[name].split == name
        size = sum(path.stat().st_size for path in (tmp_path / "to" / name).glob("*.arrow"))
        assert after[name].info.splits[name].num_bytes == size
        assert after[name].info.dataset_size == size + 5
    source = open_source(tmp_path / "in")
    assert "All splits are read: train, test." in source.says
    assert [shard.path.parent.name for shard in source.shards] == ["train"] * 3 + ["test"]


def test_equal_rows_have_the_same_fingerprint_and_others_another(tmp_path: Path) -> None:
    made().save_to_disk(str(tmp_path / "in"))
    keep = np.ones(60, dtype=bool)
    found = []
    for name, kept in (("a", keep), ("b", keep), ("c", np.arange(60) != 7)):
        applied(tmp_path / "in", tmp_path / name, kept)
        found.append(datasets.load_from_disk(str(tmp_path / name))._fingerprint)
    assert found[0] == found[1] != found[2]


def test_nothing_kept_is_a_data_set_without_rows(tmp_path: Path) -> None:
    made().save_to_disk(str(tmp_path / "in"), num_shards=2)
    applied(tmp_path / "in", tmp_path / "to", np.zeros(60, dtype=bool))
    after = datasets.load_from_disk(str(tmp_path / "to"))
    assert len(after) == 0
    assert after.features == made().features


def test_pictures_and_pairs_come_from_their_struct(tmp_path: Path) -> None:
    made().save_to_disk(str(tmp_path / "in"))
    source = open_source(tmp_path / "in")
    found = [row for batch in pairs(source, source.shards[0]) for row in batch.to_pylist()]
    assert [row["caption"] for row in found] == [one for row in made() for one in row["captions"]]
    assert len({row["image"] for row in found}) == 60  # the hash of each picture
    stored = datasets.load_from_disk(str(tmp_path / "in")).cast_column("image", datasets.Image(decode=False))
    pictures = list(source.pictures(source.shards[0], np.array([2, 3, 59])))
    assert [picture.data for picture in pictures] == [stored[row]["image"]["bytes"] for row in (2, 3, 59)]
    assert len(list(source.pictures(source.shards[0]))) == 60


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_data_files": [{"filename": "../other.arrow"}]}, "does not name the files of the data set"),
        ({"_data_files": None}, "does not name the files of the data set"),
        ({"_data_files": [{"filename": "gone.arrow"}]}, "cannot read"),
        (
            {"_indices_data_files": [{"filename": "indices.arrow"}]},
            "keeps a selection of rows apart from them",
        ),
        ({"_data_files": []}, "has no rows"),
    ],
)
def test_a_state_that_cannot_be_used_says_why(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    made(5).save_to_disk(str(tmp_path / "in"))
    state = json.loads((tmp_path / "in" / "state.json").read_text())
    (tmp_path / "in" / "state.json").write_text(json.dumps({**state, **change}))
    with pytest.raises(DataError, match=said):
        open_source(tmp_path / "in")


def test_a_folder_that_is_incomplete_says_so(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": made(5), "test": made(5)}).save_to_disk(str(tmp_path / "in"))
    source = open_source(tmp_path / "in")
    source.write(source.shards[0], np.ones(5, dtype=bool), tmp_path / "to")
    with pytest.raises(DataError, match="is missing, expected a copy of every file"):
        source.finish(tmp_path / "to")
    with pytest.raises(DataError, match="is the source itself"):
        source.finish(tmp_path / "in")
    (tmp_path / "in" / "dataset_dict.json").write_text('{"splits": ["train", "../other"]}')
    with pytest.raises(DataError, match=r"names the split '\.\./other'"):
        open_source(tmp_path / "in")
    (tmp_path / "in" / "dataset_dict.json").write_text("{")
    with pytest.raises(DataError, match=r"dataset_dict.json cannot be used"):
        open_source(tmp_path / "in")
    shutil.rmtree(tmp_path / "in" / "test")
    (tmp_path / "in" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(DataError, match=r"cannot read .*test/state.json"):
        open_source(tmp_path / "in")
