from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.audit.columns import write_columns
from robustcmr.audit.near_items import near_file, write_near_items

PAIRS, ITEMS = 900, 300


def write(folder: Path, side: str) -> tuple[list[Path], Any, list[dict[str, Any]], int]:
    """Two pieces of pairs whose items come three times, some without a vector or with a problem."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((PAIRS, 32)).astype(
        np.float32
    )  # by position, which is not that of the pair
    codes = rng.permutation(np.repeat(rng.integers(1, 2**64, ITEMS, np.uint64), 3))
    keys = np.sort(rng.choice(10**12, PAIRS, replace=False))
    at = rng.permutation(PAIRS)
    at[::7] = -1
    problem = [None if row % 11 else "missing picture" for row in range(PAIRS)]
    usable = [row for row in range(PAIRS) if at[row] >= 0 and problem[row] is None]
    first = {code: row for row, code in reversed([(row, codes[row]) for row in usable])}
    order = sorted(first.values())
    expected = []
    for row, of in zip(order[-40:], order[:40], strict=True):  # the last items are like the first
        vectors[at[row]] = 3 * vectors[at[of]] + 0.01 * vectors[at[row]]
        expected.append({"code": codes[row], "first_code": codes[of], "first_key": keys[of]})
    name = {"image": "image_code", "text": "plain_code"}[side]
    table = pa.table({"key": keys, name: codes, "problem": pa.array(problem, pa.string())})
    files = [folder / "0.parquet", folder / "1.parquet"]
    pq.write_table(table.slice(0, 400), files[0])
    pq.write_table(table.slice(400), files[1])
    write_columns(folder, {f"{side}_at": "<i8"}, PAIRS, [pa.record_batch({f"{side}_at": at})])
    return files, vectors, expected, len(order)


@pytest.mark.parametrize("side", ["image", "text"])
def test_items_near_an_earlier_one_are_written_by_code(side: Any, tmp_path: Path) -> None:
    files, vectors, expected, items = write(tmp_path, side)
    there, seen = set(tmp_path.iterdir()), list[int]()
    found = write_near_items(side, vectors.__getitem__, files, tmp_path, 2**28, seen.append)
    assert len(found) == 40
    table = pq.read_table(tmp_path / near_file(side))
    assert table.column_names == [
        {"image": "image_code", "text": "plain_code"}[side],
        "first_code",
        "first_key",
    ]
    assert table.rename_columns(["code", "first_code", "first_key"]).to_pylist() == expected
    assert set(tmp_path.iterdir()) - there == {tmp_path / near_file(side)}
    assert sum(seen) == 17 * items


def test_vectors_in_a_narrow_cone_are_not_all_duplicates(tmp_path: Path) -> None:
    files, vectors, expected, _ = write(tmp_path, "image")
    narrow = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) + 2  # any two at a cosine of 0.99
    found = write_near_items("image", narrow.__getitem__, files, tmp_path, 2**28)
    assert len(found) == len(expected)
    assert float(pq.read_schema(tmp_path / near_file("image")).metadata[b"cosine"]) > 0.999


def test_no_vectors_at_all(tmp_path: Path) -> None:
    table = pa.table(
        {"key": [0, 1], "image_code": pa.array([5, 6], pa.uint64()), "problem": pa.nulls(2, pa.string())}
    )
    pq.write_table(table, tmp_path / "0.parquet")
    write_columns(tmp_path, {"image_at": "<i8"}, 2, [pa.record_batch({"image_at": np.array([-1, -1])})])
    found = write_near_items(
        "image", lambda at: np.ones((len(at), 4)), [tmp_path / "0.parquet"], tmp_path, 2**28
    )
    assert len(found) == 0
    assert len(pq.read_table(tmp_path / near_file("image"))) == 0
