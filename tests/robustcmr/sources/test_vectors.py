"""Vectors are joined to the pairs that they were made of, whatever order and layout they come in."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustcmr.errors import DataError
from robustcmr.sources import parquet
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Columns, Source
from robustcmr.sources.vectors import Vectors, check_widths, open_vectors, unusable

D = 6
RNG = np.random.default_rng(0)


def made(count: int, dtype: str = "f4", width: int = D) -> npt.NDArray[Any]:
    """Distinct vectors."""
    return RNG.standard_normal((count, width)).astype(dtype)


def parquet_pairs(folder: Path, shards: int = 3, rows: int = 8, lists: bool = False, **more: Any) -> Source:
    """A source of ``shards`` files: two rows an image, its own id and caption each."""
    for shard in range(shards):
        numbers = np.arange(shard * rows, (shard + 1) * rows)
        captions = [f"caption {n}" for n in numbers]
        table = {
            "uid": [f"{n:032x}" for n in numbers],
            "image_path": [f"pictures/{n // 2}.jpg" for n in numbers],
            "caption": [[caption, caption + "!"] for caption in captions] if lists else captions,
        }
        columns = {name: pa.array(values) for name, values in table.items()}
        columns |= {name: values[numbers] for name, values in more.items()}
        (folder / "in").mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), folder / "in" / f"{shard:03}.parquet", row_group_size=3)
    return parquet.open([folder / "in"], Columns("image_path", "caption", "uid"))


def joined(vectors: Vectors, source: Source) -> npt.NDArray[np.float32]:
    """The vector of each pair, joined as the audit joins it: (pairs, D)."""
    batches = [batch for shard in source.shards for batch in pairs(source, shard)]
    table = pa.Table.from_batches(batches)
    if vectors.by == "row":
        at = vectors.at_rows(table["shard"].to_numpy(), table["row"].to_numpy())
    elif vectors.by == "position":
        at = np.arange(len(table))
    elif vectors.by == "image position":
        images = table["image"].to_pylist()
        numbers = {image: number for number, image in enumerate(dict.fromkeys(images))}
        at = np.array([numbers[image] for image in images])
    else:
        batches_of_keys = vectors.keys()
        assert batches_of_keys is not None
        keys = pa.Table.from_batches(batches_of_keys)
        query = f"""
            select coalesce(min(k.at), -1) from (select *, row_number() over () as n from t) t
            left join keys k on k.key = t.{vectors.by} group by n order by n"""
        with duckdb.connect() as connection:
            connection.register("t", table)
            connection.register("keys", keys)
            at = np.array(connection.execute(query).fetchall())[:, 0]
    return vectors.take(at.astype(np.int64))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(-1, D), (-1, 1, D)])
def test_a_file_of_one_vector_a_row(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    source, truth = parquet_pairs(tmp_path), made(24, dtype)
    np.save(tmp_path / "v.npy", truth.reshape(shape))
    vectors = open_vectors(tmp_path / "v.npy", "image", source)
    assert (vectors.by, vectors.count, vectors.width, vectors.keys()) == ("row", 24, D, None)
    assert "one a row" in vectors.says[0]
    np.testing.assert_array_equal(joined(vectors, source), truth.astype(np.float32))


@pytest.mark.parametrize("key", ["id", "image"])
def test_names_beside_a_file_join_pairs_that_are_fewer(tmp_path: Path, key: str) -> None:
    source, truth = parquet_pairs(tmp_path), made(40)
    order = RNG.permutation(40)
    np.save(tmp_path / "v.npy", truth[order])
    name = "{:032x}".format if key == "id" else "pictures/{}.jpg".format
    (tmp_path / "v.txt").write_text("".join(f"{name(n)}\n" for n in order))
    vectors = open_vectors(tmp_path / "v.npy", "image", source)
    assert vectors.by == key
    of_pairs = np.arange(24) if key == "id" else np.arange(24) // 2
    np.testing.assert_array_equal(joined(vectors, source), truth[of_pairs])


def test_files_of_a_folder_come_in_natural_order(tmp_path: Path) -> None:
    source, truth = parquet_pairs(tmp_path), made(24)
    (tmp_path / "v").mkdir()
    for number, part in enumerate(np.split(truth, 12)):
        np.save(tmp_path / "v" / f"part_{number}.npy", part)
    vectors = open_vectors(str(tmp_path / "v"), "text", source)
    np.testing.assert_array_equal(joined(vectors, source), truth)
    order = RNG.permutation(24)
    np.testing.assert_array_equal(vectors.take(order), truth[order])
    np.testing.assert_array_equal(vectors.take(np.array([5, -1, 5])), [truth[5], [np.nan] * D, truth[5]])


def test_a_file_named_as_each_file_of_pairs(tmp_path: Path) -> None:
    source, truth = parquet_pairs(tmp_path), made(24)
    for shard, rows in zip(source.shards, np.split(truth, 3), strict=True):
        np.save(shard.path.with_suffix(".npy"), rows)
    np.save(tmp_path / "in" / "another.npy", truth)
    vectors = open_vectors(tmp_path / "in", "image", source)
    np.testing.assert_array_equal(joined(vectors, source), truth)
    np.save(tmp_path / "in" / "001.npy", truth[:5])
    vectors = open_vectors(tmp_path / "in", "image", source)
    assert "has 5 rows and 001.parquet 8: the 8 rows of 001.parquet have no image vector" in vectors.says[1]
    found = joined(vectors, source)
    assert np.isnan(found[8:16]).all()
    np.testing.assert_array_equal(found[16:], truth[16:])


def test_one_vector_a_pair_where_rows_hold_lists_of_captions(tmp_path: Path) -> None:
    source, truth = parquet_pairs(tmp_path, lists=True), made(48)
    np.save(tmp_path / "v.npy", truth)
    vectors = open_vectors(tmp_path / "v.npy", "text", source)
    assert vectors.by == "position"
    np.testing.assert_array_equal(joined(vectors, source), truth)


def test_one_vector_a_distinct_image(tmp_path: Path) -> None:
    source, truth = parquet_pairs(tmp_path), made(12)
    np.save(tmp_path / "v.npy", truth)
    vectors = open_vectors(tmp_path / "v.npy", "image", source)
    assert vectors.by == "image position"
    np.testing.assert_array_equal(joined(vectors, source), truth.repeat(2, axis=0))
    with pytest.raises(DataError, match="12 of them for 24 pairs; give one a pair in the same order"):
        open_vectors(tmp_path / "v.npy", "text", source)


def clip_folder(folder: Path, table: dict[str, list[str]], image: npt.NDArray[Any], text: Any) -> Path:
    """Write vectors and their metadata in two parts, as clip-retrieval's writer does."""
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    half = len(image) // 2
    for number, rows in enumerate((slice(0, half), slice(half, None))):
        np.save(folder / f"img_emb/img_emb_{number}.npy", image[rows])
        np.save(folder / f"text_emb/text_emb_{number}.npy", text[rows])
        part = {name: values[rows] for name, values in table.items()}
        pq.write_table(pa.table(part), folder / f"metadata/metadata_{number}.parquet")
    return folder


def test_shuffled_vectors_of_clip_retrieval_are_joined_by_id(tmp_path: Path) -> None:
    source, image, text = parquet_pairs(tmp_path), made(24, "f2"), made(24, "f2")
    order = RNG.permutation(24)
    table = {
        "image_path": [f"x{n}" for n in order],
        "caption": [f"caption {n}" for n in order],
        "uid": [f"{n:032x}" for n in order],
    }
    clip_folder(tmp_path / "clip", table, image[order], text[order])
    for side, truth in (("image", image), ("text", text)):
        vectors = open_vectors(tmp_path / "clip", side, source)  # type: ignore[arg-type]
        assert vectors.by == "id"
        assert "joined by id with the column uid" in vectors.says[0]
        np.testing.assert_array_equal(joined(vectors, source), truth.astype(np.float32))


@pytest.mark.parametrize(
    ("own", "theirs"), [("pictures/{}.jpg", "/data/web/pictures/{}.jpg"), ("pictures/{}.jpg", "{}.jpg")]
)
def test_pictures_are_the_same_below_another_folder(tmp_path: Path, own: str, theirs: str) -> None:
    source, image, text = parquet_pairs(tmp_path), made(12), made(12)
    order = RNG.permutation(12)
    table = {"image_path": [theirs.format(n) for n in order], "caption": [f"caption {2 * n}" for n in order]}
    clip_folder(tmp_path / "clip", table, image[order], text[order])
    vectors = open_vectors(tmp_path / "clip", "image", source)
    assert vectors.by == "image"
    np.testing.assert_array_equal(joined(vectors, source), image.repeat(2, axis=0))


def test_captions_join_text_vectors_and_the_rest_is_missing(tmp_path: Path) -> None:
    source, text = parquet_pairs(tmp_path), made(20)
    order = RNG.permutation(20)
    table = {"image_path": ["?"] * 20, "caption": [f"caption {n}" for n in order]}
    clip_folder(tmp_path / "clip", table, text, text[order])
    vectors = open_vectors(tmp_path / "clip", "text", source)
    assert vectors.by == "caption"
    assert "20 of 24 sampled ones" in vectors.says[0]
    found = joined(vectors, source)
    np.testing.assert_array_equal(found[:20], text)
    assert np.isnan(found[20:]).all()


def test_few_shared_ids_are_taken_only_where_no_count_fits(tmp_path: Path) -> None:
    source, text = parquet_pairs(tmp_path), made(24)
    table = {"uid": [f"{n:032x}" if n < 5 else f"other {n}" for n in range(24)]}
    clip_folder(tmp_path / "fits", table, text, text)
    assert open_vectors(tmp_path / "fits", "text", source).by == "row"
    table = {name: [*values, "more"] for name, values in table.items()}
    more = np.concatenate([text, text[:1]])
    clip_folder(tmp_path / "more", table, more, more)
    vectors = open_vectors(tmp_path / "more", "text", source)
    assert vectors.by == "id"
    assert "5 of 24 sampled ones were found there" in vectors.says[0]
    found = joined(vectors, source)
    np.testing.assert_array_equal(found[:5], text[:5])
    assert np.isnan(found[5:]).all()


def test_captions_never_join_image_vectors(tmp_path: Path) -> None:
    source, image = parquet_pairs(tmp_path), made(20)
    table = {"image_path": ["?"] * 20, "caption": [f"caption {n}" for n in range(20)]}
    clip_folder(tmp_path / "clip", table, image, image)
    with pytest.raises(DataError, match="share no key with the pairs, and there are 20 of them for 24"):
        open_vectors(tmp_path / "clip", "image", source)


def test_an_array_in_the_archive_beside_each_file(tmp_path: Path) -> None:
    source, image = parquet_pairs(tmp_path), made(24, "f2")
    for shard, rows in zip(source.shards, np.split(image, 3), strict=True):
        save = np.savez_compressed if shard.number == 1 else np.savez
        save(shard.path.with_suffix(".npz"), l14_img=rows, b32_img=rows + 1)
    vectors = open_vectors("l14_img", "image", source)
    np.testing.assert_array_equal(joined(vectors, source), image.astype(np.float32))
    order = RNG.permutation(24)
    np.testing.assert_array_equal(vectors.take(order), image[order].astype(np.float32))
    (tmp_path / "in" / "002.npz").unlink()
    missing = open_vectors("l14_img", "image", source)
    assert "the 8 rows of 002.parquet have no image vector" in missing.says[1]
    found = joined(missing, source)
    assert np.isnan(found[16:]).all()
    np.testing.assert_array_equal(found[:16], image[:16].astype(np.float32))
    np.savez(tmp_path / "in" / "002.npz", l14_img=image[:5])
    assert "has 5 rows and 002.parquet 8" in open_vectors("l14_img", "image", source).says[1]


@pytest.mark.parametrize("fixed", [True, False])
def test_a_column_of_lists(tmp_path: Path, fixed: bool) -> None:
    truth = made(24)
    kind = pa.list_(pa.float32(), D) if fixed else pa.list_(pa.float64())
    column = np.empty(24, object)
    column[:] = [pa.scalar(row.tolist(), kind) for row in truth]

    class Lists:
        def __getitem__(self, numbers: npt.NDArray[np.int64]) -> pa.Array:
            rows = [None if n == 7 else truth[n].tolist() for n in numbers]
            if not fixed:
                rows = [
                    [*row, 1.0] if row is not None and n == 9 else row
                    for n, row in zip(numbers, rows, strict=True)
                ]
            return pa.array(rows, kind)

    source = parquet_pairs(tmp_path, emb=Lists())
    vectors = open_vectors("emb", "image", source)
    assert (vectors.by, vectors.width) == ("row", D)
    truth[[7] if fixed else [7, 9]] = np.nan
    np.testing.assert_array_equal(joined(vectors, source), truth)
    order = RNG.permutation(24)[:9]
    np.testing.assert_array_equal(vectors.take(order), truth[order])


def test_cut_off_nan_and_zero_rows_are_told_apart(tmp_path: Path) -> None:
    source, truth = parquet_pairs(tmp_path), made(24)
    truth[3], truth[4] = 0, np.nan
    np.save(tmp_path / "v.npy", truth)
    content = (tmp_path / "v.npy").read_bytes()
    (tmp_path / "v.npy").write_bytes(content[: -2 * D * 4 - 1])
    vectors = open_vectors(tmp_path / "v.npy", "image", source)
    assert "ends after 21 of the 24 rows that its header promises" in vectors.says[1]
    broken, zero = unusable(joined(vectors, source))
    assert np.flatnonzero(broken).tolist() == [4, 21, 22, 23]
    assert np.flatnonzero(zero).tolist() == [3]


def test_vectors_travel_to_another_process_and_are_told_from_others(tmp_path: Path) -> None:
    source, truth = parquet_pairs(tmp_path), made(24)
    np.save(tmp_path / "v.npy", truth)
    vectors = open_vectors(tmp_path / "v.npy", "image", source)
    vectors.take(np.arange(3))
    sent = pickle.dumps(vectors)
    assert len(sent) < 5000
    np.testing.assert_array_equal(pickle.loads(sent).take(np.arange(24)), truth)
    before = vectors.fingerprint()
    assert open_vectors(tmp_path / "v.npy", "image", source).fingerprint() == before
    truth[20, 2] += 1
    np.save(tmp_path / "v.npy", truth)
    assert open_vectors(tmp_path / "v.npy", "image", source).fingerprint() != before


def test_bad_vectors_are_refused_in_one_sentence(tmp_path: Path) -> None:
    source = parquet_pairs(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    np.save(tmp_path / "two" / "a.npy", made(12))
    np.save(tmp_path / "two" / "b.npy", made(12, width=D + 1))
    np.save(tmp_path / "int.npy", np.ones((24, D), np.int64))
    np.save(tmp_path / "regions.npy", np.ones((24, 36, D), np.float32))
    np.save(tmp_path / "few.npy", made(7))
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "clip" / "img_emb").mkdir(parents=True)
    for shard in source.shards:
        np.savez(shard.path.with_suffix(".npz"), l14_img=made(8))
    cases = {
        "nowhere.npy": "there are no image vectors at nowhere.npy; check the path",
        "l14_imgs": "did you mean 'l14_img'",
        "caption": "holds string; expected lists of numbers",
        str(tmp_path / "empty"): "has no .npy file",
        str(tmp_path / "two"): "vectors of 7 numbers, and",
        str(tmp_path / "int.npy"): "holds int64; expected float16, float32 or float64",
        str(tmp_path / "regions.npy"): "has shape (24, 36, 6); expected one vector a row",
        str(tmp_path / "few.npy"): "7 of them for 24 pairs of 12 distinct images",
        str(tmp_path / "text.npy"): "is no .npy file",
        str(tmp_path / "clip"): "has no img_emb/img_emb_0.npy",
    }
    for spec, says in cases.items():
        with pytest.raises(DataError) as caught:
            open_vectors(spec, "image", source)
        assert says in str(caught.value), (spec, str(caught.value))
        assert "\n" not in str(caught.value)


def test_sides_of_two_models_are_refused(tmp_path: Path) -> None:
    source = parquet_pairs(tmp_path)
    np.save(tmp_path / "i.npy", made(24))
    np.save(tmp_path / "t.npy", made(24, width=D + 2))
    image, text = (open_vectors(tmp_path / f"{side[0]}.npy", side, source) for side in ("image", "text"))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"6 numbers and the text vectors .* 8; give both from one model"):
        check_widths(image, text)
