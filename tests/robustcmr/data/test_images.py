"""Folders of pictures: what is read, what is broken, and how pixels come out."""

import logging
import os
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from robustcmr.data.check import check_data, open_folder
from robustcmr.data.images import Images, broken_pictures
from robustcmr.data.pictures import PicturePixels
from robustcmr.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Ten pictures of two captions each to train on, four to choose on; names in sub-folders too."""
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    for split, n in (("train", 10), ("dev", 4)):
        lines = []
        for i in range(n):
            name = f"{split}/{i}.{'jpg' if i % 2 else 'png'}"
            path = root / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (20 + i, 30, 3), dtype=np.uint8)).save(path)
            lines += [f"{name}\tpicture {i} of {split}", f"{name}\tagain {i}"]
        (root / f"{split}_caps.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def opened(root, **options):
    return Images(Images.Config(root=root, **options))


def test_pictures_and_captions_are_read(folder):
    data = opened(folder)
    assert data.splits() == ("train", "dev")
    split = data.split("train")
    assert split.features is None
    assert split.n_images == 10
    assert split.captions[5] == "again 2"
    assert split.image_of_caption.tolist() == [i // 2 for i in range(20)]
    assert split.image_names[3] == "train/3.jpg"
    assert split.picture(4).size == (30, 24)
    assert split.trusted
    assert not opened(folder, trusted=False).split("train").trusted
    assert opened(folder, trusted=False).split("dev").trusted


def test_lines_of_a_picture_need_not_stand_together(folder):
    lines = (folder / "dev_caps.tsv").read_text().splitlines()
    (folder / "dev_caps.tsv").write_text("\n".join([*lines[::2], *lines[1::2]]) + "\n")
    split = opened(folder).split("dev")
    assert split.image_of_caption.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def test_the_fingerprint_knows_captions_pictures_and_pairing(folder):
    first = opened(folder).fingerprint("train")
    assert first == opened(folder).fingerprint("train") != opened(folder).fingerprint("dev")
    Image.new("RGB", (9, 9)).save(folder / "images/train/0.png")
    second = opened(folder).fingerprint("train")
    text = (folder / "train_caps.tsv").read_text()
    (folder / "train_caps.tsv").write_text(text.replace("again 3", "once 3"))
    third = opened(folder).fingerprint("train")
    (folder / "train_caps.tsv").write_text(text.replace("train/1.jpg\tagain", "train/0.png\tagain"))
    assert len({first, second, third, opened(folder).fingerprint("train")}) == 4


def test_a_broken_picture_stops_or_is_left_out(folder, caplog):
    (folder / "images/train/3.jpg").write_bytes((folder / "images/train/3.jpg").read_bytes()[:300])
    (folder / "images/train/5.jpg").write_text("no picture")
    (folder / "images/train/8.png").unlink()
    with pytest.raises(
        DataError, match=r"3 of 10 pictures .*train/3.jpg: .*8.png: there is no such file.*skip"
    ):
        opened(folder).split("train")
    assert opened(folder).split("dev").n_images == 4
    with caplog.at_level(logging.WARNING):
        split = opened(folder, broken="skip").split("train")
    assert "3 of 10 pictures" in caplog.text
    assert split.image_names == [f"train/{i}.{'jpg' if i % 2 else 'png'}" for i in (0, 1, 2, 4, 6, 7, 9)]
    assert split.captions[6:8] == ["picture 4 of train", "again 4"]
    assert split.image_of_caption[6:8].tolist() == [3, 3]
    assert split.picture(3).size == (30, 24)


def test_what_was_found_is_remembered_until_a_file_changes(folder, monkeypatch):
    paths = sorted((folder / "images/train").iterdir())
    paths[2].write_text("no picture")
    assert list(broken_pictures(paths, folder)) == [2]
    looked = []
    monkeypatch.setattr("robustcmr.data.images._reason", lambda path: looked.append(path))
    assert list(broken_pictures(paths, folder)) == [2]
    assert looked == []
    os.utime(paths[2], ns=(1, 1))
    assert broken_pictures(paths, folder) == {}
    assert looked == [paths[2]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda root: (root / "images").rename(root / "pictures"), "expected images/ and"),
        (lambda root: [path.unlink() for path in root.glob("*.tsv")], "expected images/ and"),
        (lambda root: (root / "train_caps.tsv").write_text("../x.png\ta\n"), "is outside"),
        (lambda root: (root / "train_caps.tsv").write_text("x.png\n"), "without a tab"),
    ],
)
def test_folders_of_another_layout_are_refused(folder, change, sentence):
    change(folder)
    with pytest.raises(DataError, match=sentence):
        opened(folder).split("train")


def test_missing_folder_split_or_every_picture(folder):
    with pytest.raises(DataError, match="does not exist"):
        opened(folder / "nowhere")
    with pytest.raises(DataError, match="no split 'test'; it has train, dev"):
        opened(folder).split("test")
    for path in (folder / "images/dev").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no picture of"):
        opened(folder, broken="skip").split("dev")


def test_the_check_command_knows_the_layout(folder):
    assert isinstance(open_folder(folder), Images)
    assert check_data(open_folder(folder)).ok
    (folder / "images/train/0.png").unlink()
    report = check_data(open_folder(folder))
    assert not report.ok
    assert "train/0.png: there is no such file" in report.problems[0]


class Shrink:
    size = (4, 5)

    def __call__(self, picture):
        pixels = np.asarray(picture.convert("RGB").resize((5, 4)), dtype=np.float32)
        return pixels.transpose(2, 0, 1) / 255


def test_pixels_come_in_the_order_asked_for(folder):
    split = opened(folder).split("train")
    pixels = PicturePixels.of_split(split, Shrink())
    assert pixels.shape == (10, 3, 4, 5)
    taken = pixels.take(np.array([7, 2, 7, 0]))
    assert taken.dtype == np.float32
    for row, image in zip(taken, (7, 2, 7, 0), strict=True):
        assert np.array_equal(row, Shrink()(Image.open(folder / "images" / split.image_names[image])))
    assert pixels.take(np.array([], dtype=np.int64)).shape == (0, 3, 4, 5)


def test_a_picture_that_breaks_later_is_named(folder):
    split = opened(folder).split("train")
    whole = BytesIO()
    Image.new("RGB", (50, 50)).save(whole, "png")
    (folder / "images/train/6.png").write_bytes(whole.getvalue()[:40])
    with pytest.raises(DataError, match=r"picture train/6\.png"):
        PicturePixels.of_split(split, Shrink()).take(np.array([1, 6]))


def test_a_split_without_pictures_has_no_pixels(make_folder, tmp_path):
    from robustcmr.data.precomp import Precomputed

    split = Precomputed(Precomputed.Config(root=make_folder(tmp_path / "features"))).split("train")
    with pytest.raises(DataError, match="no pictures"):
        PicturePixels.of_split(split, Shrink())
