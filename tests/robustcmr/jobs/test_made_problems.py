from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from robustcmr.errors import DataError
from robustcmr.jobs.made_problems import PairsWithProblems
from robustcmr.jobs.make_vectors import make_vectors
from robustcmr.sources import open_source
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Two files of 30 pairs each; every seventh picture is damaged, every eleventh caption is empty."""
    rng = np.random.default_rng(0)
    for number in range(2):
        lines = ["image,caption"]
        for row in range(30):
            path = tmp_path / f"{number}-{row}.png"
            Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
            if row % 7 == number:
                path.write_bytes(path.read_bytes()[:30])
            lines.append(f"{path.name},{'' if row % 11 == 5 else f'caption number {row}'}")
        (tmp_path / f"part{number}.csv").write_text("\n".join(lines) + "\n")
    return open_source(sorted(tmp_path.glob("*.csv")))


@pytest.mark.parametrize("piece", [4, 100])
def test_pairs_say_why_they_have_no_vectors(
    source: Source, piece: int, clip_folder: Path, tmp_path: Path
) -> None:
    folder = make_vectors(source, output=tmp_path / "out", model=str(clip_folder), device="cpu", piece=piece)
    read = pickle.loads(pickle.dumps(PairsWithProblems(folder)))
    for shard in source.shards:
        plain = pa.Table.from_batches(pairs(source, shard))
        found = pa.Table.from_batches(read(source, shard))
        assert found.schema == plain.schema
        assert found.drop_columns("problem") == plain.drop_columns("problem")
        for row, before, after in zip(range(30), plain["problem"], found["problem"], strict=True):
            if row % 7 == shard.number and row % 11 != 5:
                assert after.as_py().startswith("unreadable picture: ")
            else:
                assert after == before
        later = pa.Table.from_batches(read(source, shard, 8, "caption LIKE '%1%'"))
        expected = [
            (row, words)
            for row, caption, words in zip(
                *(found[name].to_pylist() for name in ("row", "caption", "problem")), strict=True
            )
            if row >= 8 and "1" in (caption or "")
        ]
        assert list(zip(later["row"].to_pylist(), later["problem"].to_pylist(), strict=True)) == expected


def test_without_problems_pairs_are_as_they_are(clip_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    (tmp_path / "pairs.csv").write_text("image,caption\na.png,a square\n")
    source = open_source(tmp_path / "pairs.csv")
    folder = make_vectors(source, output=tmp_path / "out", model=str(clip_folder), device="cpu")
    read = PairsWithProblems(folder)
    assert list(read(source, source.shards[0])) == list(pairs(source, source.shards[0]))


def test_a_damaged_table_is_named(source: Source, clip_folder: Path, tmp_path: Path) -> None:
    folder = make_vectors(source, output=tmp_path / "out", model=str(clip_folder), device="cpu")
    (folder / "problems" / "problems_0.parquet").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"cannot read .*problems.*make the vectors again"):
        list(PairsWithProblems(folder)(source, source.shards[0]))
