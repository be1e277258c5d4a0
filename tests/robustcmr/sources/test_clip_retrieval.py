"""Output folders of clip-retrieval are read with their vectors, and written back as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.errors import DataError
from robustcmr.sources import clip_retrieval
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Columns
from robustcmr.sources.vectors import open_vectors, own_vectors

SIZES = [5, 7, 4]


def write_folder(folder: Path, digits: int = 1) -> dict[str, Any]:
    """Write what clip-retrieval 2.45's writer writes: a pandas table and float16 vectors a part."""
    rng = np.random.default_rng(0)
    truth: dict[str, Any] = {"image": [], "text": [], "caption": []}
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for part, rows in enumerate(SIZES):
        number = f"{part:0{digits}}"
        image, text = rng.standard_normal((2, rows, 6)).astype(np.float16)
        np.save(folder / f"img_emb/img_emb_{number}.npy", image)
        np.save(folder / f"text_emb/text_emb_{number}.npy", text)
        keys = [f"{part:05}{row:04}" for row in range(rows)]
        table = pa.table(
            {
                "image_path": pa.array(keys, pa.large_string()),
                "caption": pa.array([f"a caption {key}" for key in keys], pa.large_string()),
                "key": pa.array(keys, pa.large_string()),
                "url": pa.array([f"http://x/{key}" for key in keys], pa.large_string()),
            }
        ).replace_schema_metadata({"pandas": "{}", "who": "writer"})
        pq.write_table(table, folder / f"metadata/metadata_{number}.parquet", compression="zstd")
        truth["image"].append(image)
        truth["text"].append(text)
        truth["caption"] += table["caption"].to_pylist()
    return truth


def test_rows_and_vectors_come_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    truth = write_folder(tmp_path)
    assert clip_retrieval.recognises([tmp_path])
    source = clip_retrieval.open([tmp_path], Columns())
    assert source.columns == Columns("image_path", "caption", "key")
    found = pa.Table.from_batches([batch for shard in source.shards for batch in pairs(source, shard)])
    assert found["caption"].to_pylist() == truth["caption"]
    for side in ("image", "text"):
        vectors = own_vectors(source, side)  # type: ignore[arg-type]
        assert vectors is not None
        assert vectors.by == "row"
        at = vectors.at_rows(found["shard"].to_numpy(), found["row"].to_numpy())
        np.testing.assert_array_equal(vectors.take(at), np.concatenate(truth[side]).astype(np.float32))


@pytest.mark.parametrize("digits", [1, 3])
def test_written_back_under_the_same_names(tmp_path: Path, digits: int) -> None:
    truth = write_folder(tmp_path / "in", digits)
    source = clip_retrieval.open([tmp_path / "in"], Columns())
    rng = np.random.default_rng(1)
    for shard, rows in zip(source.shards, SIZES, strict=True):
        keep = rng.random(rows) < 0.5
        written = source.write(shard, keep, tmp_path / "out")
        number = f"{shard.number:0{digits}}"
        names = {f"img_emb/img_emb_{number}.npy", f"text_emb/text_emb_{number}.npy"}
        names.add(f"metadata/metadata_{number}.parquet")
        assert {str(path.relative_to(tmp_path / "out")) for path in written} == names
        for side, name in (("image", "img_emb"), ("text", "text_emb")):
            found = np.load(tmp_path / f"out/{name}/{name}_{number}.npy")
            assert found.dtype == np.float16
            np.testing.assert_array_equal(found, truth[side][shard.number][keep])
        before, after = (
            pq.read_table(tmp_path / each / f"metadata/metadata_{number}.parquet") for each in ("in", "out")
        )
        assert after.schema.equals(before.schema, check_metadata=True)
        assert after.equals(before.filter(pa.array(keep)))
        about = pq.read_metadata(tmp_path / f"out/metadata/metadata_{number}.parquet")
        assert keep.sum() == 0 or about.row_group(0).column(0).compression == "ZSTD"
    again = clip_retrieval.open([tmp_path / "out"], Columns())
    assert own_vectors(again, "image") is not None


def test_a_part_without_vectors_is_said_and_never_written_misaligned(tmp_path: Path) -> None:
    write_folder(tmp_path / "in")
    np.save(tmp_path / "in/img_emb/img_emb_1.npy", np.ones((3, 6), np.float16))
    source = clip_retrieval.open([tmp_path / "in"], Columns())
    vectors = open_vectors(tmp_path / "in", "image", source)
    assert "has 3 rows and its metadata 7: its 7 rows have no image vector" in vectors.says[1]
    assert np.isnan(vectors.take(np.arange(5, 12))).all()
    assert np.isfinite(vectors.take(np.array([4, 12, 15]))).all()
    with pytest.raises(DataError, match="has 3 rows for 7 pairs"):
        source.write(source.shards[1], np.ones(7, bool), tmp_path / "out")
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))
    for shard, rows in zip(source.shards, SIZES, strict=True):  # whose rows are all left out
        source.write(shard, np.full(rows, rows != 7), tmp_path / "out")
    again = own_vectors(clip_retrieval.open([tmp_path / "out"], Columns()), "image")
    assert again is not None
    assert (again.count, len(again.says)) == (9, 1)


def test_the_source_itself_is_never_overwritten(tmp_path: Path) -> None:
    write_folder(tmp_path)
    source = clip_retrieval.open([tmp_path], Columns())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match="is a file of the source itself"):
        source.write(source.shards[0], np.zeros(5, bool), tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_another_folder_is_refused(tmp_path: Path) -> None:
    assert not clip_retrieval.recognises([tmp_path])
    with pytest.raises(DataError, match="is no output folder of clip-retrieval; expected img_emb"):
        clip_retrieval.open([tmp_path], Columns())
