"""Somebody's own pairs as a data set: splits, ids, vectors and pictures in any format, and bad input."""

from __future__ import annotations

import csv
import io
import logging
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from robustcmr.data.source import SourcePairs, in_options
from robustcmr.data.source_pictures import packed_pictures
from robustcmr.data.source_vectors import SourceVectors
from robustcmr.data.store import NpyFeatures
from robustcmr.errors import ConfigError, DataError
from robustcmr.sources.guess import open_source
from robustcmr.testing.datasets import check_dataset

N, D = 60, 6
EACH = np.random.default_rng(1).integers(1, 5, N)
IMAGE = np.repeat(np.arange(N), EACH)


def opened(root: Path, **options: Any) -> SourcePairs:
    return SourcePairs(SourcePairs.Config(root=str(root), **{"dev": 0.2, "test": 0.1, **options}))


def columns() -> dict[str, Any]:
    return {
        "uid": [f"id-{row}" for row in range(len(IMAGE))],
        "image": [f"p/{image}.jpg" for image in IMAGE],
        "caption": [f"caption {row} of {image}" for row, image in enumerate(IMAGE)],
    }


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """Parquet with vectors a row, images the mean of theirs."""
    pq.write_table(pa.table(columns()), tmp_path / "web.parquet", row_group_size=25)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.normal(size=(N, D)).astype(np.float16)[IMAGE])
    np.save(tmp_path / "texts.npy", rng.normal(size=(len(IMAGE), D)).astype(np.float32))
    return tmp_path


def with_vectors(web: Path, **more: Any) -> dict[str, Any]:
    return {"image_vectors": str(web / "images.npy"), "text_vectors": str(web / "texts.npy"), **more}


def test_every_pair_has_its_own_caption_id_and_vectors(web: Path) -> None:
    data = opened(web / "web.parquet", **with_vectors(web))
    images, texts, given = np.load(web / "images.npy"), np.load(web / "texts.npy"), columns()
    seen = []
    for split in map(data.split, data.splits()):
        for pair, key in enumerate(split.pair_ids):
            row = int(key.removeprefix("id-"))
            image = split.image_of_caption[pair]
            assert split.captions[pair] == given["caption"][row]
            assert split.image_names[image] == given["image"][row]
            assert np.array_equal(split.features.take(np.array([image]))[0, 0], images[row].astype("f4"))
            assert np.array_equal(split.text_vectors.take(np.array([pair]))[0, 0], texts[row])
            seen.append(row)
    assert sorted(seen) == list(range(len(IMAGE)))
    assert [data.split(name).n_images for name in data.splits()] == [42, 12, 6]


def test_it_keeps_the_contract_of_data_sets(web: Path) -> None:
    check_dataset(SourcePairs, {"root": str(web / "web.parquet"), **with_vectors(web)})


def test_splits_follow_the_image_and_not_the_order_or_format(web: Path) -> None:
    data = opened(web / "web.parquet", **with_vectors(web))
    table = columns()
    order = np.random.default_rng(2).permutation(len(IMAGE))
    with (web / "other.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows([[table[name][row] for name in table] for row in order])
    np.save(web / "shuffled.npy", np.load(web / "images.npy")[order])
    other = opened(web / "other.csv", image_vectors=str(web / "shuffled.npy"))
    for name in data.splits():
        assert set(other.split(name).pair_ids) == set(data.split(name).pair_ids)
    again = opened(web / "web.parquet", **with_vectors(web, split_seed=1))
    assert set(again.split("dev").pair_ids) != set(data.split("dev").pair_ids)


def test_a_fingerprint_knows_content_and_not_the_format(web: Path) -> None:
    first = opened(web / "web.parquet", **with_vectors(web)).fingerprint("train")
    with (web / "same.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        table = columns()
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    assert opened(web / "same.csv", **with_vectors(web)).fingerprint("train") == first
    changed = np.load(web / "texts.npy")
    changed += 1
    np.save(web / "texts.npy", changed)
    assert opened(web / "web.parquet", **with_vectors(web)).fingerprint("train") != first


def test_a_column_can_name_the_splits(web: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = np.array(["train", "val", "test"])[np.minimum(IMAGE // 25, 2)]
    pq.write_table(pa.table({**columns(), "split": names}), web / "web.parquet")
    data = opened(web / "web.parquet", **with_vectors(web))
    assert data.splits() == ("train", "dev", "test")
    assert len(data.split("dev").captions) == int((names == "val").sum())
    leaky = np.array(["train", "test"])[np.arange(len(IMAGE)) % 2]
    pq.write_table(pa.table({**columns(), "part": leaky}), web / "web.parquet")
    with caplog.at_level(logging.WARNING, "robustcmr"):
        data = opened(web / "web.parquet", **with_vectors(web, split="part", dev=0))
        assert data.splits() == ("train", "test")
    assert "are in more than one split" in caplog.text
    drawn = opened(web / "web.parquet", **with_vectors(web, split="drawn"))
    assert drawn.split("dev").n_images == 12


def test_folders_and_files_can_name_the_splits(web: Path) -> None:
    table, half = pa.table(columns()), int((IMAGE < 40).sum())
    for first, second in (("train/0", "validation/0"), ("train-0-of-1", "test-0-of-1")):
        root = web / first.replace("/", "-")
        for name, part in ((first, table.slice(0, half)), (second, table.slice(half))):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(part, root / f"{name}.parquet")
        data = opened(root, **with_vectors(web))
        assert len(data.split("train").captions) + len(data.split("dev").captions) in (half, len(IMAGE))
        if "test-" in second:  # dev is drawn from the images of train
            assert data.splits() == ("train", "dev", "test")
            assert data.split("dev").n_images == 8
            assert len(data.split("test").captions) == len(IMAGE) - half
            assert not set(data.split("dev").image_names) & set(data.split("train").image_names)
        else:
            assert data.splits() == ("train", "dev")
            assert len(data.split("train").captions) == half


def test_files_of_two_folders_may_have_one_name(tmp_path: Path) -> None:
    for split, start in (("train", 0), ("test", 100)):
        (tmp_path / split).mkdir()
        for number in range(12):
            write_picture(tmp_path / split / f"{number}.png", start + number)
        rows = [f"{number}.png,picture of {start + number}" for number in range(12)]
        (tmp_path / split / "metadata.csv").write_text("\n".join(["file_name,text", *rows]) + "\n")
    data = opened(tmp_path)
    assert {name: data.split(name).n_images for name in data.splits()} == {"train": 10, "dev": 2, "test": 12}
    check_pictures(data)


@pytest.mark.parametrize("by", ["image", "id"])
def test_vectors_are_joined_by_a_key(web: Path, by: str) -> None:
    images = np.load(web / "images.npy").astype("f4")
    first = np.unique(IMAGE, return_index=True)[1]
    order = np.random.default_rng(3).permutation(N if by == "image" else len(IMAGE))
    rows = first[order] if by == "image" else order
    folder = web / "keyed"
    folder.mkdir()
    table = columns()
    names = [table["image" if by == "image" else "uid"][row] for row in rows]
    np.save(folder / "images.npy", images[rows])
    (folder / "images.txt").write_text("\n".join(names) + "\n")
    data = opened(web / "web.parquet", image_vectors=str(folder))
    split = data.split("train")
    expected = [images[int(key.removeprefix("id-"))] for key in split.pair_ids]
    assert np.array_equal(split.features.take(split.image_of_caption)[:, 0], np.array(expected))
    assert split.text_vectors is None


def test_vectors_of_distinct_images_and_a_condition(web: Path) -> None:
    """Positions count all pairs of the source, also those that the condition leaves out."""
    distinct = np.load(web / "images.npy")[np.unique(IMAGE, return_index=True)[1]]
    np.save(web / "distinct.npy", distinct)
    data = opened(web / "web.parquet", image_vectors=str(web / "distinct.npy"), where="image > 'p/3'")
    found = {}
    for split in map(data.split, data.splits()):
        for image, name in enumerate(split.image_names):
            found[name] = split.features.take(np.array([image]))[0, 0]
    assert set(found) == {f"p/{image}.jpg" for image in range(N) if f"p/{image}.jpg" > "p/3"}
    for name, vector in found.items():
        assert np.array_equal(vector, distinct[int(name[2:-4])].astype("f4"))


def test_a_column_of_vectors_is_copied_once(web: Path, caplog: pytest.LogCaptureFixture) -> None:
    vectors = np.load(web / "images.npy").astype("f4")
    table = pa.table({**columns(), "clip": list(vectors)})
    pq.write_table(table, web / "web.parquet", row_group_size=20)
    with caplog.at_level(logging.INFO, "robustcmr"):
        split = opened(web / "web.parquet", image_vectors="clip").split("train")
    assert "copying the image vectors clip" in caplog.text
    assert isinstance(split.features, NpyFeatures)
    expected = [vectors[int(key.removeprefix("id-"))] for key in split.pair_ids]
    assert np.array_equal(split.features.take(split.image_of_caption)[:, 0], np.array(expected))
    caplog.clear()
    with caplog.at_level(logging.INFO, "robustcmr"):
        opened(web / "web.parquet", image_vectors="clip").split("train")
    assert "copying" not in caplog.text


def test_vectors_of_files_stay_there(web: Path) -> None:
    split = opened(web / "web.parquet", **with_vectors(web)).split("train")
    assert isinstance(split.features, SourceVectors)
    assert split.features.dtype == np.float16
    copied = pickle.loads(pickle.dumps(split.features))
    some = np.array([3, 0, 3])
    assert np.array_equal(copied.take(some), split.features.take(some))
    with pytest.raises(IndexError):
        split.features.take(np.array([split.n_images]))


def test_pairs_with_problems_are_left_out_and_counted(web: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = columns()
    table["caption"][3] = " "
    table["image"][5] = None
    vectors, texts = np.load(web / "images.npy"), np.load(web / "texts.npy")
    vectors[IMAGE[20] == IMAGE] = np.nan
    texts[30] = 0
    np.save(web / "images.npy", vectors)
    np.save(web / "texts.npy", texts)
    pq.write_table(pa.table(table), web / "web.parquet")
    data = opened(web / "web.parquet", **with_vectors(web))
    with caplog.at_level(logging.WARNING, "robustcmr"):
        kept = {key for name in data.splits() for key in data.split(name).pair_ids}
    bad = {3, 5, 30, *np.flatnonzero(IMAGE[20] == IMAGE).tolist()}
    assert kept == {f"id-{row}" for row in range(len(IMAGE)) if row not in bad}
    assert f"{len(bad)} of {len(IMAGE)} pairs" in caplog.text
    for said in (
        "empty caption: 1, first web.parquet row 3",
        "missing image: 1",
        "no text vector: 1",
        "no image v",
    ):
        assert said in caplog.text


def write_picture(path: Path | io.BytesIO, number: int) -> None:
    colour = (number * 4 % 256, number % 256, 200)
    Image.new("RGB", (20 + number % 7, 24), colour).save(path, "PNG")


def check_pictures(data: SourcePairs) -> None:
    """Each picture is that of its caption, which says the number."""
    for split in map(data.split, data.splits()):
        assert split.features is None
        for pair, caption in enumerate(split.captions):
            number = int(caption.rpartition(" ")[2])
            assert split.picture(split.image_of_caption[pair]).getpixel((0, 0)) == (
                number * 4 % 256,
                number % 256,
                200,
            )
    copied = pickle.loads(pickle.dumps(data.split("train").picture))
    assert copied(0).size == data.split("train").picture(0).size


def test_pictures_in_files(tmp_path: Path) -> None:
    (tmp_path / "shop" / "images").mkdir(parents=True)
    for number in range(N):
        write_picture(tmp_path / "shop" / "images" / f"{number}.png", number)
    rows = [f"images/{image}.png,caption {row} of {image}" for row, image in enumerate(IMAGE)]
    (tmp_path / "shop" / "captions.csv").write_text("\n".join(["image,caption", *rows]) + "\n")
    data = opened(tmp_path / "shop")
    assert data.matcher()[0] == "clip"
    check_pictures(data)
    assert sum(len(data.split(name).captions) for name in data.splits()) == len(IMAGE)
    check_dataset(SourcePairs, {"root": str(tmp_path / "shop")})
    first = data.fingerprint("train")
    number = int(Path(data.split("train").image_names[0]).stem)
    write_picture(tmp_path / "shop" / "images" / f"{number}.png", number + 1)
    assert opened(tmp_path / "shop").fingerprint("train") != first


def test_pictures_in_tars_and_columns_are_copied_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoded = []
    for number in range(N):
        buffer = io.BytesIO()
        write_picture(buffer, number)
        encoded.append(buffer.getvalue())
    encoded[4] = encoded[4][:60]
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for number, data in enumerate(encoded):
            for name, content in ((f"{number:03}.png", data), (f"{number:03}.txt", f"of {number}".encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    captions = [[f"one of {number}", f"two of {number}"] for number in range(N)]
    pq.write_table(
        pa.table({"image": encoded, "caption": captions}), tmp_path / "t.parquet", row_group_size=9
    )
    for root, each in ((tmp_path / "0.tar", 1), (tmp_path / "t.parquet", 2)):
        caplog.clear()
        with caplog.at_level(logging.INFO, "robustcmr"):
            check_pictures(opened(root))
        assert "copying the pictures of" in caplog.text
        assert "unreadable picture, such as: " in caplog.text
        data = opened(root)
        assert sum(len(data.split(name).captions) for name in data.splits()) == (N - 1) * each
        caplog.clear()
        with caplog.at_level(logging.INFO, "robustcmr"):
            check_pictures(opened(root))
        assert "copying" not in caplog.text
        assert "unreadable picture" in caplog.text
        assert all(len(name) < 20 for name in data.split("train").image_names)  # the id, not the hash


def test_packed_pictures_in_any_order(tmp_path: Path) -> None:
    encoded = []
    for number in range(9):
        buffer = io.BytesIO()
        write_picture(buffer, number)
        encoded.append(buffer.getvalue())
    for part in range(3):
        table = {"image": encoded[3 * part : 3 * part + 3], "caption": ["a"] * 3}
        pq.write_table(pa.table(table), tmp_path / f"{part}.parquet")
    source = open_source(tmp_path)
    order = np.array([8, 2, 0, 5, 3])
    pictures, problems = packed_pictures(source, order // 3, order % 3)
    assert not problems
    found = [pictures(place).getpixel((0, 0))[0] for place in range(5)]
    assert found == (order * 4).tolist()


def test_vectors_and_pictures_together(tmp_path: Path) -> None:
    encoded = []
    for number in range(N):
        buffer = io.BytesIO()
        write_picture(buffer, number)
        encoded.append(buffer.getvalue())
    table = {"image": encoded, "caption": [f"of {number}" for number in range(N)]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet", row_group_size=9)
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(N, D)))
    data = opened(tmp_path / "t.parquet", image_vectors=str(tmp_path / "v.npy"))
    assert data.matcher()[0] == "embeddings"
    split = data.split("dev")
    for image, caption in enumerate(split.captions):
        number = int(caption[3:])
        assert split.picture(image).getpixel((0, 0)) == (number * 4 % 256, number % 256, 200)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "brings neither pictures nor vectors"),
        ({"image_vectors": "clip"}, "no column of it"),
        ({"text": "captoin"}, "did you mean 'caption'"),
        ({"split": "uid"}, "holds more than 20 values"),
        ({"split": "part"}, "has no column 'part' of splits"),
        ({"where": "width > 3"}, "width"),
        ({"where": "uid = 'x'"}, "has no pairs"),
        ({"audit": "drop"}, "is not the folder of an audit; audit it first"),
        ({"format": "parquett"}, "did you mean"),
    ],
)
def test_bad_input_is_one_sentence(web: Path, options: dict[str, Any], said: str) -> None:
    given = {} if not options or "image_vectors" in options else with_vectors(web)

    def train() -> None:
        data = opened(web / "web.parquet", **{**given, **options})
        data.matcher()
        data.split("train")

    with pytest.raises((DataError, ConfigError), match=said) as raised:
        train()
    assert "\n" not in str(raised.value)
    assert " --text" not in str(raised.value)


def test_shares_leave_something(web: Path) -> None:
    with pytest.raises(ValueError, match="leaves nothing to train on"):
        opened(web / "web.parquet", dev=0.6, test=0.5)
    with pytest.raises(ValueError, match="empty name"):
        SourcePairs.Config(root=" ")
    assert SourcePairs.Config(root="hf:/user/name").root == "hf://user/name"


def test_flags_become_options() -> None:
    assert in_options("such as --text title; or --image") == "such as --set data.text=title; or data.image"


def test_the_most_images_of_a_split(web: Path) -> None:
    data = opened(web / "web.parquet", **with_vectors(web, most=3))
    assert [data.split(name).n_images for name in data.splits()] == [54, 3, 3]
