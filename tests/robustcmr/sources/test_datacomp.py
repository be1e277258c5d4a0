"""Pools of DataComp are read with their vectors, written back, and listed as its tools read lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.errors import DataError
from robustcmr.sources import datacomp
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Columns
from robustcmr.sources.vectors import own_vectors

RNG = np.random.default_rng(0)
ARRAYS = {"b32_img": 5, "b32_txt": 5, "l14_img": 7, "l14_txt": 7}


def write_pool(folder: Path, sizes: tuple[int, ...] = (6, 9)) -> None:
    """Write shards as the pool's documentation describes: metadata, and float16 vectors of two models."""
    folder.mkdir()
    for shard, rows in enumerate(sizes):
        stem = folder / f"{shard:032x}"
        uids = [RNG.bytes(16).hex() for _ in range(rows)]
        table = {
            "uid": uids,
            "url": [f"http://x/{uid}.jpg" for uid in uids],
            "text": [f"text of {uid}" for uid in uids],
            "original_width": RNG.integers(100, 900, rows),
            "clip_l14_similarity_score": RNG.random(rows),
            "face_bboxes": [[[0.1, 0.2, 0.3, 0.4]] if row % 2 else [] for row in range(rows)],
            "sha256": uids,
        }
        pq.write_table(pa.table(table), stem.with_suffix(".parquet"))
        np.savez(
            stem.with_suffix(".npz"),
            **{n: RNG.standard_normal((rows, d)).astype("f2") for n, d in ARRAYS.items()},
        )


def test_a_pool_is_read_with_its_vectors_and_written_back(tmp_path: Path) -> None:
    write_pool(tmp_path / "in")
    assert datacomp.recognises([tmp_path / "in"])
    source = datacomp.open([tmp_path / "in"], Columns())
    assert source.columns == Columns("url", "text", "uid")
    assert source.says[-1] == "Vectors of the model l14 come with the pairs; those of b32 are there too."
    found = pa.Table.from_batches([batch for shard in source.shards for batch in pairs(source, shard)])
    vectors = own_vectors(source, "text")
    assert vectors is not None
    truth = np.concatenate([np.load(shard.path.with_suffix(".npz"))["l14_txt"] for shard in source.shards])
    at = vectors.at_rows(found["shard"].to_numpy(), found["row"].to_numpy())
    np.testing.assert_array_equal(vectors.take(at), truth.astype(np.float32))
    for shard in source.shards:
        keep = RNG.random(shard.rows) < 0.5
        source.write(shard, keep, tmp_path / "out")
        copy = tmp_path / "out" / shard.path.name
        before, after = pq.read_table(shard.path), pq.read_table(copy)
        assert after.schema.equals(before.schema, check_metadata=True)
        assert after.equals(before.filter(pa.array(keep)))
        old, new = np.load(shard.path.with_suffix(".npz")), np.load(copy.with_suffix(".npz"))
        assert new.files == old.files
        for name in ARRAYS:
            assert new[name].dtype == np.float16
            np.testing.assert_array_equal(new[name], old[name][keep])


def test_archives_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    write_pool(tmp_path / "in")
    source = datacomp.open([tmp_path / "in"], Columns())
    with pytest.raises(DataError, match="is a file of the source itself"):
        source.write(source.shards[0], np.ones(6, bool), tmp_path / "in")
    first = source.shards[0].path.with_suffix(".npz")
    np.savez(first, l14_img=np.ones((2, 7)), l14_txt=np.ones((2, 7)))
    with pytest.raises(DataError, match="has 2 rows for 6 pairs; make it again"):
        source.write(source.shards[0], np.ones(6, bool), tmp_path / "out")
    source.write(source.shards[0], np.zeros(6, bool), tmp_path / "out")
    source.write(source.shards[1], np.zeros(9, bool), tmp_path / "out")
    assert [path.stem for path in (tmp_path / "out").glob("*.npz")] == [source.shards[1].path.stem]
    for shard in source.shards:
        shard.path.with_suffix(".npz").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match=r"no parquet file of .* has a readable .npz beside it"):
        datacomp.open([tmp_path / "in"], Columns())
