"""Folders of pictures: what is read, what is broken, and how pixels come out."""

import hashlib
import json
import logging
import os
import struct
import unicodedata
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustcmr.data.check import check_data, open_folder
from robustcmr.data.images import Images, broken_pictures
from robustcmr.data.picture_files import open_picture
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


def test_sound_pictures_are_remembered_until_a_file_changes(folder, monkeypatch):
    pictures = (folder / "images").resolve()
    names = [f"train/{path.name}" for path in sorted((pictures / "train").iterdir())]
    (pictures / names[2]).write_text("no picture")
    looked = []

    def looking(*arguments):
        looked.append(arguments[1])
        return open_picture(*arguments)

    monkeypatch.setattr("robustcmr.data.images.open_picture", looking)
    for expected in (names, [names[2]]):  # the reason of a broken one may have passed
        assert list(broken_pictures(pictures, names)) == [names[2]]
        assert sorted(looked) == sorted(expected)
        looked.clear()
    assert list(broken_pictures(pictures, names, 869)) == [names[2], names[9]]
    looked.clear()
    os.utime(pictures / names[4], ns=(1, 1))
    assert list(broken_pictures(pictures, names)) == [names[2]]
    assert sorted(looked) == [names[2], names[4]]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"train/0.png": 5}', b"[" * 100_000, b"\xff\0"])
def test_a_damaged_cache_is_made_anew(folder, monkeypatch, tmp_path, content):
    monkeypatch.setenv("ROBUSTCMR_CACHE", str(tmp_path / "cache"))
    assert opened(folder).split("dev").n_images == 4
    (cached,) = (tmp_path / "cache/images").iterdir()
    whole = cached.read_bytes()
    cached.write_bytes(content)
    assert opened(folder).split("dev").n_images == 4
    assert cached.read_bytes() == whole


def test_a_picture_that_may_not_be_read_is_named_and_not_remembered(folder, monkeypatch):
    opened(folder).split("train")

    read = Path.open

    def refused(self, *arguments, **keywords):
        if self.name == "0.png":
            raise PermissionError(13, "Permission denied", str(self))
        return read(self, *arguments, **keywords)

    (folder / "images/train/0.png").chmod(0o600)  # changes neither size nor time of the content
    with monkeypatch.context() as context:
        context.setattr("pathlib.Path.open", refused)
        with pytest.raises(DataError, match=r"1 of 10 .*train/0\.png: permission denied"):
            opened(folder).split("train")
    assert opened(folder).split("train").n_images == 10


def test_bad_names_are_answered_by_opening_and_by_the_check(folder):
    bad = ["a\0b.png", "x" * 5000, "", "/etc/hostname", "\x1b[31m.png"]
    lines = (folder / "train_caps.tsv").read_text() + "".join(f"{name}\ta caption\n" for name in bad)
    (folder / "train_caps.tsv").write_text(lines)
    with pytest.raises(DataError) as caught:
        opened(folder).split("train")
    report = check_data(open_folder(folder))
    assert report.problems == (f"train: {caught.value}",)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500
    assert "5 of 15 pictures" in str(caught.value)
    assert opened(folder, broken="skip").split("train").n_images == 10


def test_links_out_of_the_folder_are_named_and_can_be_left_out(folder, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "private.png")
    (folder / "images/train/0.png").unlink()
    (folder / "images/train/0.png").symlink_to(tmp_path / "private.png")
    with pytest.raises(DataError, match=r"train/0\.png: it is a link to .*private\.png, outside"):
        opened(folder).split("train")
    assert opened(folder, broken="skip").split("train").n_images == 9


def test_the_pictures_folder_itself_may_be_a_link(folder, tmp_path):
    (folder / "images").rename(tmp_path / "pool")
    (folder / "images").symlink_to(tmp_path / "pool")
    assert opened(folder).split("train").picture(4).size == (30, 24)


def test_spellings_of_one_name_are_one_picture(folder):
    name = unicodedata.normalize("NFD", "dev/café.png")
    Image.new("RGB", (9, 9)).save(folder / "images" / name)
    spellings = [name, unicodedata.normalize("NFC", name), f"./{name}", "dev//0.png", "dev/0.png"]
    (folder / "dev_caps.tsv").write_text("".join(f"{each}\ta caption\n" for each in spellings))
    split = opened(folder).split("dev")
    assert split.image_of_caption.tolist() == [0, 0, 0, 1, 1]
    assert split.picture(0).size == (9, 9)


def test_the_check_and_the_use_have_one_limit(folder):
    with pytest.raises(DataError, match=r"1 of 10 .*9\.jpg: it has 30 x 29 = 870 pixels, .*max_pixels=870"):
        opened(folder, max_pixels=869).split("train")
    split = opened(folder, max_pixels=870).split("train")
    Image.new("RGB", (30, 30)).save(folder / "images/train/9.jpg")
    with pytest.raises(DataError, match=r"cannot read the picture train/9\.jpg: it has 30 x 30 = 900 pixels"):
        split.picture(9)


def test_what_the_check_passes_is_what_is_used(folder):
    # orientation 6 and a resolution in words
    tags = (
        struct.pack("<HHHII", 2, 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x011A, 2, 5, 38) + b"\0\0\0\0many\0"
    )
    path = folder / "images/train/0.png"
    picture = Image.open(path)
    picture.load()
    picture.save(path, exif=b"Exif\0\0II*\0\x08\0\0\0" + tags)
    split = opened(folder).split("train")
    assert split.picture(0).size == (20, 30)
    assert PicturePixels.of_split(split, Shrink()).take(np.array([0])).shape == (1, 3, 4, 5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda root: (root / "images").rename(root / "pictures"), "expected images/ and"),
        (lambda root: [path.unlink() for path in root.glob("*.tsv")], "expected images/ and"),
        (lambda root: (root / "train_caps.tsv").write_text("../x.png\ta\n"), "outside the pictures"),
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


def test_earlier_versions_hashed_some_pictures(folder):
    data = opened(folder)
    (older,) = data.older_fingerprints("train")
    assert older != data.fingerprint("train")
    names = [f"train/{i}.{'jpg' if i % 2 else 'png'}" for i in range(10)]
    captions = [text for i in range(10) for text in (f"picture {i} of train", f"again {i}")]
    digest = hashlib.sha256(json.dumps([captions, names]).encode())
    digest.update((np.arange(20) // 2).astype("<i8").tobytes())
    for name in names:
        digest.update(hashlib.sha256((folder / "images" / name).read_bytes()).digest())
    assert digest.hexdigest()[:16] == older


def test_every_picture_is_part_of_the_fingerprint(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(40):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"images/{i}.png")
    lines = "".join(f"{i}.png\tpicture {i}\n" for i in range(40))
    (tmp_path / "train_caps.tsv").write_text(lines, encoding="utf-8")
    before = opened(tmp_path)
    mark, older = before.fingerprint("train"), before.older_fingerprints("train")
    Image.new("RGB", (8, 8), (99, 0, 0)).save(tmp_path / "images/7.png")
    after = opened(tmp_path)
    assert after.fingerprint("train") != mark
    assert after.older_fingerprints("train") == older  # which did not read it


def test_names_of_two_pictures_that_differ_in_unicode_form_alone(folder):
    forms = [unicodedata.normalize(form, "caf\u00e9.png") for form in ("NFC", "NFD")]
    for size, name in enumerate(forms, 8):
        Image.new("RGB", (size, size)).save(folder / "images" / name)
    if (folder / "images" / forms[0]).samefile(folder / "images" / forms[1]):
        pytest.skip("this file system knows one form")
    (folder / "dev_caps.tsv").write_text("".join(f"{name}\ta\n" for name in forms), encoding="utf-8")
    with pytest.raises(DataError, match="there are two files of this name, one composed and one decomposed"):
        opened(folder).split("dev")
