from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.audit.columns import write_columns
from robustcmr.audit.near_items import near_file, write_near_items
from robustcmr.audit.picture_hashes import PictureHashes

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


def test_pictures_of_near_hashes_are_near_beside_those_of_near_vectors(tmp_path: Path) -> None:
    """Hashes go by the positions of vectors; one of them joins two groups that vectors have found."""
    files, vectors, _, _ = write(tmp_path, "image")
    before = write_near_items("image", vectors.__getitem__, files, tmp_path, 2**28)
    table = pa.concat_tables([pq.read_table(file) for file in files])
    at = np.load(tmp_path / "image_at.npy")
    firsts = dict[int, int]()  # code to the position of the first usable pair
    for code, problem, place in zip(*table.select([1, 2]).to_pydict().values(), at.tolist(), strict=True):
        if place >= 0 and problem is None:
            firsts.setdefault(code, place)
    places = np.array(list(firsts.values()))
    contents, differences, known = (np.zeros(PAIRS, kind) for kind in (np.uint64, np.uint64, np.bool_))
    differences[:] = np.random.default_rng(1).integers(0, 2**64, PAIRS, np.uint64)
    known[places] = True
    contents[places[[100, 120]]] = 9  # the same bytes
    differences[places[150]] = differences[places[130]] ^ np.uint64(0b1011)
    differences[places[170]] = differences[places[140]] ^ np.uint64(0b1111)  # too far
    known[places[160]], differences[places[160]] = False, differences[places[130]]
    differences[places[1]] = differences[places[0]]  # the firsts of two groups
    hashes = PictureHashes(contents, differences, known)
    found = write_near_items("image", vectors.__getitem__, files, tmp_path, 2**28, None, hashes)
    wanted = dict(zip(before.rows.tolist(), before.first.tolist(), strict=True))
    alone = [row for row, first in wanted.items() if first == 1]  # near the second, not the first
    assert alone
    for row in alone:
        del wanted[row]
    wanted |= {1: 0, 120: 100, 150: 130}
    assert dict(zip(found.rows.tolist(), found.first.tolist(), strict=True)) == wanted
    codes = list(firsts)
    rows = pq.read_table(tmp_path / near_file("image")).to_pylist()
    assert {(row["image_code"], row["first_code"]) for row in rows} == {
        (codes[later], codes[first]) for later, first in wanted.items()
    }


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
