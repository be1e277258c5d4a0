"""Joins against loops in Python: counts, duplicates, positions, near pairs."""

from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.audit import near_pairs
from robustcmr.audit.columns import has_columns, read_column, write_columns
from robustcmr.audit.joins import DUPLICATES, FACTS, duplicates_of, write_facts
from robustcmr.audit.near_items import near_file
from robustcmr.audit.near_pairs import NEAR, NEAR_PAIRS, write_near_pairs
from robustcmr.audit.parts import Task, all_pieces
from robustcmr.audit.positions import write_positions
from robustcmr.audit.rows import write_rows
from robustcmr.errors import DataError
from robustcmr.sources.records import PAIRS

COUNT = 300


@pytest.fixture(scope="module")
def rows():
    """Pairs with all that can be repeated, some of them with a problem."""
    rng = np.random.default_rng(0)
    found = []
    for n in range(COUNT):
        caption = f"{'A' if rng.random() < 0.5 else 'a'} thing {rng.integers(12)}"
        problem = "empty caption" if rng.random() < 0.1 else None
        found.append((f"id{rng.integers(250)}", f"i{rng.integers(60)}", caption, 0, n // 2, n % 2, problem))
    return found


def batch(of):
    columns = zip(*of, strict=True)
    arrays = [pa.array(list(column), kind) for column, kind in zip(columns, PAIRS.types, strict=True)]
    return pa.record_batch(arrays, PAIRS)


@pytest.fixture(scope="module")
def pieces(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pieces")
    batch = pa.record_batch(
        [
            pa.array(list(column), kind)
            for column, kind in zip(zip(*rows, strict=True), PAIRS.types, strict=True)
        ],
        PAIRS,
    )
    source = SimpleNamespace(shards=[0])
    write_rows(source, Task(0, (0,)), folder, lambda *_: iter([batch]), piece=70)
    found = all_pieces(folder, [Task(0, (0,))])
    assert len(found) > 3
    return found, [folder / f"{piece.name}.parquet" for piece in found]


def sound(rows):
    """Numbers of the pairs without a problem, the first of each id."""
    seen = set()
    for n, (name, *_, problem) in enumerate(rows):
        if problem is None and name not in seen:
            seen.add(name)
            yield n


def test_what_pairs_have_in_common(rows, pieces, tmp_path):
    write_facts(pieces[1], tmp_path, COUNT, 2**27)
    columns = {name: np.load(tmp_path / f"{name}.npy") for name in FACTS}
    good = list(sound(rows))
    expected = {name: np.zeros(COUNT, int) for name in FACTS}
    firsts: dict = {}
    for n, row in enumerate(rows):
        expected["repeated_id"][n] = row[-1] is None and n not in good
    for kind, form in (
        ("caption", lambda text: text),
        ("plain", str.lower),
        ("template", lambda text: text.lower().rstrip("0123456789")),
    ):
        pairs = Counter(form(rows[n][2]) for n in good)
        images = defaultdict(set)
        for n in good:
            images[form(rows[n][2])].add(rows[n][1])
        for n in good:
            expected[f"{kind}_pairs"][n] = pairs[form(rows[n][2])]
            if kind != "caption":
                expected[f"{kind}_images"][n] = len(images[form(rows[n][2])])
    for n in good:
        first = firsts.setdefault((rows[n][1], rows[n][2].lower()), n)
        expected["duplicate"][n] = first != n
    for name, values in expected.items():
        np.testing.assert_array_equal(columns[name], values, err_msg=name)
    found = {}
    for piece in pieces[0]:
        at, ids = duplicates_of(tmp_path / DUPLICATES, piece)
        found |= dict(zip((at + piece.start).tolist(), ids.to_pylist(), strict=True))
    assert found == {
        n: rows[firsts[rows[n][1], rows[n][2].lower()]][0] for n in np.flatnonzero(expected["duplicate"])
    }
    assert len(found) > 5
    assert not (tmp_path / "spill").exists()


def test_near_pairs_have_a_near_picture_and_a_near_caption(rows, pieces, tmp_path, monkeypatch):
    """Pictures i1 to i9 are near i0; captions of 'thing 0' to 'thing 3' have nearly the same vector."""
    monkeypatch.setattr(near_pairs, "_COMPARED", 50)
    table = pa.concat_tables([pq.read_table(path) for path in pieces[1]])
    codes = dict(zip(table["image"].to_pylist(), table["image_code"].to_pylist(), strict=True))
    near = {"image_code": [codes[f"i{n}"] for n in range(1, 10)], "first_code": [codes["i0"]] * 9}
    arrays = {name: pa.array(column, pa.uint64()) for name, column in near.items()}
    pq.write_table(pa.table(arrays), tmp_path / near_file("image"))
    kinds = np.random.default_rng(1).normal(size=(12, 64)).astype(np.float32)
    kinds[1:4] = kinds[0] + 1e-3 * kinds[1:4]
    number = [int(row[2].split()[-1]) for row in rows]
    at = pa.RecordBatch.from_pydict({"text_at": np.arange(COUNT)[::-1].copy()})
    write_columns(tmp_path, {"text_at": "<i8"}, COUNT, [at])
    take = lambda where: kinds[np.array(number)[COUNT - 1 - where]]  # noqa: E731
    write_near_pairs(take, *pieces, tmp_path, 2**27)

    def form(n):
        image = rows[n][1]
        return image if len(image) > 2 else "i0", max(number[n], 3)

    firsts: dict = {}
    expected, seen = {}, set()
    for n in sound(rows):
        same = (rows[n][1], rows[n][2].lower())
        first = firsts.setdefault(form(n), n)
        if same not in seen and first != n:
            expected[n] = rows[first][0]
        seen.add(same)
    assert len(expected) > 5
    np.testing.assert_array_equal(np.flatnonzero(np.load(tmp_path / f"{NEAR}.npy")), sorted(expected))
    assert pq.read_table(tmp_path / NEAR_PAIRS)["duplicate_of"].to_pylist() == list(expected.values())


def vectors(by, names=None):
    batches = None
    if names is not None:
        batches = iter([pa.RecordBatch.from_pydict({"key": names, "at": np.arange(len(names))})])
    return SimpleNamespace(
        by=by, keys=lambda: batches, at_rows=lambda shards, at: np.where(at < 140, at + 1000 * shards, -1)
    )


def test_vectors_are_found_by_key(rows, pieces, tmp_path):
    for place, by in ((0, "id"), (1, "image"), (2, "caption")):
        names = sorted({row[place] for row in rows})[::-1][:20]
        names = [*names, None, "unknown", names[3]]
        keys, repeated = write_positions(vectors(by, names), "at", pieces[1], tmp_path, COUNT, 2**27)
        expected = [names.index(row[place]) if row[place] in names else -1 for row in rows]
        np.testing.assert_array_equal(np.load(tmp_path / "at.npy"), expected)
        assert (keys, repeated) == (len(set(names)) - 1, 1)


def test_vectors_are_found_by_count(rows, pieces, tmp_path):
    def positions(by, every=None, of=pieces, count=COUNT):
        write_positions(vectors(by), "at", of[1], tmp_path, count, 2**27, every)
        return np.load(tmp_path / "at.npy")

    np.testing.assert_array_equal(positions("position"), np.arange(COUNT))
    np.testing.assert_array_equal(positions("row"), [n // 2 if n // 2 < 140 else -1 for n in range(COUNT)])
    order = list(dict.fromkeys(row[1] for row in rows))
    np.testing.assert_array_equal(positions("image position"), [order.index(row[1]) for row in rows])


def test_a_filter_does_not_move_positions(rows, tmp_path):
    """Rows of even number are left out; the vectors are those of all."""
    kept = [row for row in rows if row[4] % 2]

    write_rows(SimpleNamespace(shards=[0]), Task(0, (0,)), tmp_path, lambda *_: iter([batch(kept)]))
    order = list(dict.fromkeys(row[1] for row in rows))
    for by, expected in (
        ("position", [n for n, row in enumerate(rows) if row[4] % 2]),
        ("image position", [order.index(row[1]) for row in kept]),
    ):
        every = iter([batch(rows[:100]), batch(rows[100:])])
        files = [tmp_path / "000000-00000.parquet"]
        write_positions(vectors(by), "at", files, tmp_path / "joins", len(kept), 2**27, every)
        np.testing.assert_array_equal(np.load(tmp_path / "joins" / "at.npy"), expected)


def test_columns_are_written_whole_or_not_at_all(tmp_path):
    part = pa.RecordBatch.from_pydict({"a": np.arange(5), "b": np.arange(5) / 2})
    with pytest.raises(DataError, match="would get 5 rows, expected 6"):
        write_columns(tmp_path, {"a": "<i8", "b": "<f8"}, 6, [part])
    assert list(tmp_path.iterdir()) == []
    write_columns(tmp_path, {"a": "<i8", "b": "<f4"}, 5, [part])
    assert has_columns(tmp_path, ["a", "b"])
    assert not has_columns(tmp_path, ["a", "c"])
    np.testing.assert_array_equal(read_column(tmp_path, "b", slice(1, 3)), np.array([0.5, 1], np.float32))
    (tmp_path / "a.npy").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"a\.npy is damaged; begin the audit again"):
        read_column(tmp_path, "a", slice(0, 2))
