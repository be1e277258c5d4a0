"""Data sets of the hub are loaded by the library itself; here from files, as if they had been fetched."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from robustcmr.errors import DataError
from robustcmr.sources import hub
from robustcmr.sources.guess import open_source
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Columns

datasets = pytest.importorskip("datasets")


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Let the library load files of two splits under any name; return the calls."""
    files = {}
    for split, rows in (("train", 7), ("test", 3)):
        pictures = []
        for row in range(rows):
            file = io.BytesIO()
            Image.fromarray(np.full((2, 2, 3), row, np.uint8)).save(file, "PNG")
            pictures.append({"bytes": file.getvalue(), "path": f"{row}.png"})
        table = {"image": pictures, "caption": [f"{split} {row}" for row in range(rows)]}
        features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
        made = datasets.Dataset.from_dict(table, features=features)
        made.to_parquet(str(tmp_path / f"{split}.parquet"))
        files[split] = str(tmp_path / f"{split}.parquet")
    load, calls = datasets.load_dataset, []

    def from_files(name: str, config: str | None) -> Any:
        calls.append((name, config))
        return load("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", from_files)
    return calls


def test_all_splits_are_read_and_written_as_the_library_saves_them(
    tmp_path: Path, fetched: list[tuple[Any, ...]]
) -> None:
    source = open_source("hf://owner/name:config")
    assert fetched == [("owner/name", "config")]
    assert source.format == "hub"
    assert "All splits are read: train, test." in source.says
    found = pa.Table.from_batches([batch for shard in source.shards for batch in pairs(source, shard)])
    assert found["caption"].to_pylist() == [f"train {n}" for n in range(7)] + [f"test {n}" for n in range(3)]
    for shard in source.shards:
        source.write(shard, np.arange(shard.rows or 0) % 2 == 0, tmp_path / "out")
    source.finish(tmp_path / "out")
    kept = datasets.load_from_disk(str(tmp_path / "out"))
    assert kept["train"]["caption"] == [f"train {n}" for n in (0, 2, 4, 6)]
    assert kept["test"]["caption"] == ["test 0", "test 2"]
    assert [np.asarray(image)[0, 0, 0] for image in kept["train"]["image"]] == [0, 2, 4, 6]
    assert len(list(open_source(tmp_path / "out").shards)) == 2


def test_one_split_can_be_named(fetched: list[tuple[Any, ...]]) -> None:
    source = open_source("owner/name#test", format="hub", text="caption")
    assert [shard.rows for shard in source.shards] == [3]
    with pytest.raises(DataError, match="has no split dev; expected one of train, test"):
        open_source("hf://owner/name#dev")


def test_offline_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="check its name and the network, or give a folder") as caught:
        open_source("hf://nobody/nothing-of-this-name")
    assert str(caught.value).startswith("cannot load hf://nobody/nothing-of-this-name: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="is no name of a data set of the hub"):
        hub.open([Path("a/b/c/d")], Columns())


def test_the_library_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        DataError, match=r"needs the package datasets; install it by pip install 'robustcmr\[hf\]'"
    ):
        hub.open([Path("hf:/owner/name")], Columns())
