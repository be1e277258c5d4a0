"""A split as a folder of pictures with a captions table."""

import csv

import numpy as np
import pytest
from PIL import Image

from noise_injection.checks import NoiseError
from robustcmr.data.base import PairsSplit
from robustcmr.data.export import export_pictures
from robustcmr.errors import DataError, UserError


class Store:
    shape = (4, 2, 3)

    def take(self, images):
        return np.asarray(images, np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)


def picture(image):
    return Image.new("RGB", (8, 8), (60 * image, 0, 0))


@pytest.fixture
def split():
    return PairsSplit(
        "train",
        Store(),
        [f'caption {i}, "said" =1' for i in range(12)],
        np.repeat(np.arange(4), 3),
        picture,
        [f"train-{i}" for i in range(4)],
    )


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_captions_and_truth_belong_together(split, tmp_path):
    done = export_pictures(split, tmp_path / "shop", noise=0.5, seed=3)
    table, truth = rows(done.folder / "captions.csv"), rows(done.truth)
    assert [row["id"] for row in table] == [row["id"] for row in truth]
    assert len({row["id"] for row in table}) == 12
    assert sorted(row["caption"] for row in table) == sorted(split.captions)
    for row, stated in zip(table, truth, strict=True):
        written_for = int(split.image_of_caption[split.captions.index(row["caption"])])
        with Image.open(done.folder / stated["true_image"]) as found:
            assert found.getpixel((0, 0)) == (60 * written_for, 0, 0)
        assert (row["image"] == stated["true_image"]) == (stated["right"] == "1")
    assert done.wrong == 6 == sum(stated["right"] == "0" for stated in truth)


def test_rows_and_features_follow_the_pictures(split, tmp_path):
    done = export_pictures(split, tmp_path / "shop", noise=0.5)
    images = [row["image"] for row in rows(done.folder / "captions.csv")]
    assert images == sorted(images)
    assert list(dict.fromkeys(images)) == sorted(
        f"images/{path.name}" for path in (done.folder / "images").iterdir()
    )
    lines = done.captions.read_text(encoding="utf-8").splitlines()
    assert lines == [row["caption"] for row in rows(done.folder / "captions.csv")]
    np.testing.assert_array_equal(np.load(done.regions), Store().take(np.arange(4)))


def test_without_noise_all_is_right(split, tmp_path):
    done = export_pictures(split, tmp_path / "shop")
    assert done.wrong == 0
    assert {row["right"] for row in rows(done.truth)} == {"1"}
    assert [row["caption"] for row in rows(done.folder / "captions.csv")] == list(split.captions)


def test_the_folder_tells_nothing_of_the_truth(split, tmp_path):
    done = export_pictures(split, tmp_path / "shop", noise=0.5)
    assert {path.name for path in done.folder.iterdir()} == {"images", "captions.csv"}
    assert list(rows(done.folder / "captions.csv")[0]) == ["id", "image", "caption"]


def test_nothing_is_replaced(split, tmp_path):
    export_pictures(split, tmp_path / "shop")
    with pytest.raises(UserError, match="already there; name a folder that is new or empty"):
        export_pictures(split, tmp_path / "shop")
    (tmp_path / "other.truth.csv").write_text("mine")
    with pytest.raises(UserError, match=r"other.truth.csv is already there"):
        export_pictures(split, tmp_path / "other")


def test_a_picture_that_fails_leaves_nothing(split, tmp_path):
    def broken(image):
        if image == 2:
            raise DataError("cannot be drawn")
        return picture(image)

    broken_split = PairsSplit("train", Store(), split.captions, split.image_of_caption, broken)
    with pytest.raises(DataError, match="cannot be drawn"):
        export_pictures(broken_split, tmp_path / "shop")
    assert list(tmp_path.iterdir()) == []


def test_noise_out_of_range_and_no_pictures(split, tmp_path):
    with pytest.raises(NoiseError):
        export_pictures(split, tmp_path / "shop", noise=1.5)
    bare = PairsSplit("train", Store(), split.captions, split.image_of_caption)
    with pytest.raises(DataError, match="no pictures"):
        export_pictures(bare, tmp_path / "shop")
    assert list(tmp_path.iterdir()) == []
