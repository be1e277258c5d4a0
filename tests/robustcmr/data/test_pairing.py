from __future__ import annotations

import re
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from robustcmr.data.cc152k import CC152K
from robustcmr.data.precomp import Precomputed
from robustcmr.errors import DataError

NAMES = ["z", "b", "é", "a"]  # not in alphabetical order


def features_of(n_images: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_images, 3, 4)).astype(np.float16)


def put(root: Path, features: np.ndarray, owners: list[int], ids: list[str] | None) -> Precomputed:
    """A folder whose caption i says that it belongs to image owners[i]."""
    root.mkdir(exist_ok=True)
    np.save(root / "train_ims.npy", features)
    (root / "train_caps.txt").write_text("".join(f"image {i}\n" for i in owners), encoding="utf-8")
    if ids is not None:
        (root / "train_ids.txt").write_text("\n".join(ids), encoding="utf-8")
    return Precomputed(Precomputed.Config(root=root))


ROUNDS = [image for _ in range(5) for image in range(4)]  # first captions of all images, then the second ones
BLOCKS = sorted(ROUNDS)
UNEVEN = [0, 0, 1, 1, 1, 1, 1, 2, 3, 3, 3]
MIXED = [0, 1, 0, 2, 1, 3, 2, 3]  # every turn lists 0, 1, 2, 3


@pytest.mark.parametrize("owners", [ROUNDS, BLOCKS, UNEVEN, MIXED])
@pytest.mark.parametrize("copies", [False, True])
def test_captions_belong_to_the_image_of_their_identifier(tmp_path, owners, copies):
    features = features_of(4)
    stored = features[owners] if copies else features
    data = put(tmp_path, stored, owners, [NAMES[image] for image in owners])
    split = data.split("train")
    assert split.image_of_caption.tolist() == owners
    assert list(split.image_names) == NAMES
    assert split.n_images == 4
    np.testing.assert_array_equal(split.features.take(np.arange(4)), features.astype(np.float32))
    regular = ", 5 in a row" if owners == BLOCKS else ""
    assert data.pairing("train") == "by the identifiers of train_ids.txt" + regular


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=4, max_size=24), st.randoms(use_true_random=False))
def test_rows_of_captions_in_any_order_are_paired(tmp_path_factory, owners, random):
    owners = [*owners, 0, 1, 2, 3]
    random.shuffle(owners)
    data = put(tmp_path_factory.mktemp("d"), features_of(4)[owners], owners, [NAMES[i] for i in owners])
    split = data.split("train")
    seen = split.features.take(split.image_of_caption)
    np.testing.assert_array_equal(seen, features_of(4).astype(np.float32)[owners])
    assert [split.image_names[i] for i in split.image_of_caption] == [NAMES[i] for i in owners]


def test_no_order_of_rows_no_pairing(tmp_path):
    owners = [0, 1, 2, 3, 3, 2, 1, 0]
    with pytest.raises(DataError, match=r"'é' on line 6 is out of turn, so it is unknown which row of"):
        put(tmp_path, features_of(4), owners, [NAMES[image] for image in owners]).split("train")


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_that_may_be_rows_are_refused_unless_they_agree(tmp_path, first):
    for owners in (ROUNDS, BLOCKS):
        ids = [str(image + first) for image in owners]
        assert put(tmp_path, features_of(4), owners, ids).split("train").image_of_caption.tolist() == owners
        with pytest.raises(DataError, match=f"may be names or rows of .*, and first names '{3 + first}'"):
            put(tmp_path, features_of(4), owners, [str(3 - image + first) for image in owners]).split("train")


def test_rows_of_one_identifier_that_differ_are_refused(tmp_path):
    ids = [NAMES[image] for image in ROUNDS]
    with pytest.raises(DataError, match=r"rows 0 and 4 of .* differ, but .*train_ids\.txt names both 'z'"):
        put(tmp_path, features_of(20), ROUNDS, ids).split("train")


def test_every_copy_is_compared(tmp_path):
    features = features_of(200).repeat(5, axis=0)
    features[5 * 123 + 4, 2, 3] += 1
    with pytest.raises(DataError, match="rows 615 and 619, which should be one image, differ"):
        put(tmp_path, features, list(range(1000)), None).split("train")


@pytest.mark.parametrize(
    ("rows", "advice"),
    [
        (np.arange(20), "no two rows are equal, so set data.captions_per_image=1"),
        (np.arange(20) // 4, "equal rows come in runs of 4, so set data.captions_per_image=4"),
        (np.arange(20) % 4, "equal rows do not follow each other, so say in train_ids.txt"),
        (np.array([0] * 4 + [1] * 16), "equal rows do not follow"),
        (np.array([0] * 6 + [1] + [2] * 13), "some rows have no copy"),
    ],
)
def test_the_advice_follows_from_the_copies(tmp_path, rows, advice):
    with pytest.raises(DataError, match=re.escape(advice)):
        put(tmp_path, features_of(20)[rows], list(range(20)), None).split("train")


@pytest.mark.parametrize(
    ("rows", "captions", "message"),
    [
        (8, 37, "with 5 an image, 40 captions were expected, so 3 lines are missing;"),
        (8, 41, "40 captions were expected, so 1 line is too many;"),
        (40, 37, "200 or 40 captions were expected, so 3 lines are missing;"),
        (8, 24, "24 captions, 3 each, but data.captions_per_image is 5; set it, as by --set data."),
    ],
)
def test_counts_that_do_not_fit(tmp_path, rows, captions, message):
    with pytest.raises(DataError, match=re.escape(message)):
        put(tmp_path, features_of(rows), list(range(captions)), None).split("train")


def test_identifiers_of_another_number_of_images(tmp_path):
    owners = UNEVEN[:-3]
    with pytest.raises(DataError, match=r"identifiers in .* is 3, but .* has 4 rows for 8 captions"):
        put(tmp_path, features_of(4), owners, [NAMES[image] for image in owners]).split("train")


def test_one_identifier_of_two_images_makes_them_one_or_is_refused(tmp_path):
    features = features_of(4)
    with pytest.raises(DataError, match=r"rows 1 and 3 of .* differ, but .* names both 'b'"):
        put(tmp_path, features, BLOCKS, ["z", "b", "c", "b"]).split("train")
    features[3] = features[1]
    for stored in (features, features.repeat(5, axis=0)):
        split = put(tmp_path, stored, BLOCKS, ["z", "b", "c", "b"]).split("train")
        assert split.image_of_caption.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [1] * 5
        assert (split.n_images, list(split.image_names)) == (3, ["z", "b", "c"])


def test_an_identifier_a_caption_confirms_nothing(tmp_path):
    data = put(tmp_path, features_of(4), BLOCKS, [str(row) for row in range(20)])
    assert data.split("train").image_of_caption.tolist() == BLOCKS
    assert data.split("train").image_names is None
    assert data.pairing("train").endswith("a different identifier for each caption, which cannot confirm it")
    (tmp_path / "train_ids.txt").unlink()
    again = Precomputed(Precomputed.Config(root=tmp_path))
    assert again.pairing("train").endswith("there is no train_ids.txt to confirm it")


@pytest.mark.parametrize("owners", [ROUNDS, BLOCKS])
def test_numbered_captions_of_a_picture(tmp_path, owners):
    ids = [f"{NAMES[image]}.jpg#{row}" for row, image in enumerate(owners)]
    split = put(tmp_path, features_of(4), owners, ids).split("train")
    assert split.image_of_caption.tolist() == owners
    assert list(split.image_names) == [f"{name}.jpg" for name in NAMES]


def test_identifiers_in_either_unicode_form_are_one(tmp_path):
    ids = [normalize("NFD" if row % 2 else "NFC", NAMES[image]) for row, image in enumerate(UNEVEN)]
    split = put(tmp_path, features_of(4), UNEVEN, ids).split("train")
    assert split.image_of_caption.tolist() == UNEVEN


def test_the_pairing_is_part_of_the_fingerprint(tmp_path):
    owners = [0, 0, 1, 1, 1]
    marks = set()
    for ids in (["a", "a", "b", "b", "b"], ["a", "b", "a", "b", "a"]):
        marks.add(put(tmp_path, features_of(2), owners, ids).fingerprint("train"))
    assert len(marks) == 2


def test_web_captions_with_one_identifier_share_an_image(tmp_path):
    rows = ["7\ta dog", "8\ta cat", "7\tone dog"]
    (tmp_path / "train_caps.tsv").write_text("\n".join(rows), encoding="utf-8")
    features = features_of(2)
    for stored in (features, features[[0, 1, 0]]):
        np.save(tmp_path / "train_ims.npy", stored)
        split = CC152K(CC152K.Config(root=tmp_path)).split("train")
        assert split.image_of_caption.tolist() == [0, 1, 0]
        assert list(split.image_names) == ["7", "8"]
        np.testing.assert_array_equal(split.features.take(np.arange(2)), features.astype(np.float32))
    np.save(tmp_path / "train_ims.npy", features_of(3))
    with pytest.raises(DataError, match=r"names both '7'; give different images different identifiers$"):
        CC152K(CC152K.Config(root=tmp_path)).split("train")
    (tmp_path / "train_caps.tsv").write_text("7\ta\n \tb\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"one line \(line 2\) without identifier"):
        CC152K(CC152K.Config(root=tmp_path)).split("train")
