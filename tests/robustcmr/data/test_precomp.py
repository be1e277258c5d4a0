from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from robustcmr.data.base import PairsData
from robustcmr.data.folder import DamagedSplitError
from robustcmr.data.precomp import Coco, Flickr8K, Flickr30K, Precomputed
from robustcmr.errors import DataError

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def features_of(n_images: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_images, 3, 4)).astype(np.float16)


def captions_of(n_images: int, each: int = 5) -> list[str]:
    return [f"image {image} caption {caption}" for image in range(n_images) for caption in range(each)]


def put(
    root: Path, split: str, features: np.ndarray, captions: list[str], ids: list[str] | None = None
) -> None:
    root.mkdir(exist_ok=True)
    np.save(root / f"{split}_ims.npy", features)
    (root / f"{split}_caps.txt").write_text("".join(line + "\n" for line in captions), encoding="utf-8")
    if ids is not None:
        (root / f"{split}_ids.txt").write_text("\n".join(ids), encoding="utf-8")


def opened(root: Path, **options: int) -> Precomputed:
    return Precomputed(Precomputed.Config(root=root, **options))


@pytest.mark.parametrize("repeats", [1, 5])
def test_images_stored_once_or_once_a_caption(tmp_path, repeats):
    features = features_of(8)
    put(tmp_path, "train", features.repeat(repeats, axis=0), captions_of(8), [f"{i}.jpg" for i in range(8)])
    split = opened(tmp_path).split("train")
    assert split.name == "train"
    assert (split.n_images, split.features.shape) == (8, (8, 3, 4))
    assert list(split.captions) == captions_of(8)
    assert split.image_of_caption.dtype == np.int64
    assert split.image_of_caption.tolist() == [image for image in range(8) for _ in range(5)]
    assert list(split.image_names) == [f"{i}.jpg" for i in range(8)]
    assert split.picture is None
    np.testing.assert_array_equal(split.features.take(np.array([7, 2])), features[[7, 2]].astype(np.float32))


def test_training_pairs_are_trusted_unless_one_says_otherwise(tmp_path):
    for name in ("train", "dev"):
        put(tmp_path, name, features_of(2), captions_of(2))
    assert [opened(tmp_path).split(name).trusted for name in ("train", "dev")] == [True, True]
    harvested = opened(tmp_path, trusted=False)
    assert [harvested.split(name).trusted for name in ("train", "dev")] == [False, True]


def test_a_caption_fits_its_own_image_alone(tmp_path):
    put(tmp_path, "train", features_of(4), captions_of(4))
    data = opened(tmp_path)
    for caption in (0, 4, 13):
        found = data.fits("train", caption, np.array([3, 0, 2, 2, 1, 0]))
        assert found.dtype == np.bool_
        assert found.tolist() == [image == caption // 5 for image in (3, 0, 2, 2, 1, 0)]
    with pytest.raises(DataError, match="no split 'dev'"):
        data.fits("dev", 0, np.array([0]))


def test_fingerprint_is_that_of_the_data_not_of_the_files(tmp_path):
    features = features_of(8)
    put(tmp_path / "once", "dev", features, captions_of(8))
    put(tmp_path / "five", "dev", features.repeat(5, axis=0).astype(np.float32), captions_of(8))
    put(tmp_path / "other", "dev", features, captions_of(8)[::-1])
    marks = [opened(tmp_path / name).fingerprint("dev") for name in ("once", "five", "other")]
    assert marks[0] == marks[1] != marks[2]


def test_dev_with_copies_keeps_all_its_images(tmp_path):
    put(tmp_path, "dev", features_of(1000).repeat(5, axis=0), captions_of(1000))
    assert opened(tmp_path).split("dev").n_images == 1000


def test_splits_are_found_from_files_in_the_usual_order(tmp_path):
    for split in ("zoo", "testall", "test", "dev", "train", "extra"):
        put(tmp_path, split, features_of(1), captions_of(1))
    (tmp_path / "._train_caps.txt").touch()
    (tmp_path / "notes.txt").touch()
    data = opened(tmp_path)
    assert isinstance(data, PairsData)
    assert data.splits() == ("train", "dev", "test", "testall", "extra", "zoo")
    assert data.folder_problems() == []


def test_half_a_split_is_no_split_and_an_error_when_opened(tmp_path):
    put(tmp_path, "train", features_of(2), captions_of(2))
    (tmp_path / "dev_caps.txt").write_text("a\n", encoding="utf-8")
    np.save(tmp_path / "test_ims.npy", features_of(2))
    data = opened(tmp_path)
    assert data.splits() == ("train",)
    with pytest.raises(DataError, match=r"has dev_caps\.txt but no dev_ims\.npy"):
        data.split("dev")
    with pytest.raises(DataError, match=r"has test_ims\.npy but no test_caps\.txt"):
        data.fingerprint("test")
    assert len(data.folder_problems()) == 2


def test_a_split_that_is_not_there(tmp_path):
    put(tmp_path, "train", features_of(2), captions_of(2))
    with pytest.raises(DataError, match="no split 'val'; it has train"):
        opened(tmp_path).split("val")


def test_the_folder_must_exist_and_be_of_this_layout(tmp_path):
    with pytest.raises(
        DataError, match=r"none does not exist; expected \{split\}_ims\.npy and .*--data-root"
    ):
        opened(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is not a folder"):
        opened(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no file in it"):
        opened(tmp_path / "empty")
    for number in range(10):
        (tmp_path / "empty" / f"{number}.jpg").touch()
    with pytest.raises(DataError, match=r"has 0\.jpg, .*, 7\.jpg and 2 more"):
        opened(tmp_path / "empty")


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path / "data", "train", features_of(2), captions_of(2))
    assert opened(Path("~/data")).splits() == ("train",)


def test_copies_with_nan_and_zeros_of_either_sign_are_still_copies(tmp_path):
    features = features_of(2).repeat(5, axis=0)
    features[:5, 1, 1], features[5:, 2, 2], features[7, 2, 2] = np.nan, 0.0, -0.0
    put(tmp_path, "train", features, captions_of(2))
    assert opened(tmp_path).split("train").n_images == 2


def test_other_numbers_of_captions_an_image(tmp_path):
    put(tmp_path / "one", "train", features_of(6), captions_of(6, 1))
    split = opened(tmp_path / "one", captions_per_image=1).split("train")
    assert split.image_of_caption.tolist() == list(range(6))
    put(tmp_path / "three", "train", features_of(6).repeat(3, axis=0), captions_of(6, 3))
    data = opened(tmp_path / "three", captions_per_image=3)
    assert (data.split("train").n_images, data.captions_per_image) == (6, 3)
    with pytest.raises(ValidationError):
        Precomputed.Config(root=tmp_path, captions_per_image=0)
    with pytest.raises(ValidationError):
        Precomputed.Config()


def test_identifiers_of_images_of_captions_or_of_neither(tmp_path):
    names = ["a", "b", "c"]
    put(tmp_path, "train", features_of(3), captions_of(3), [name for name in names for _ in range(5)])
    assert opened(tmp_path).split("train").image_names == names
    put(tmp_path, "train", features_of(3), captions_of(3), [str(row) for row in range(15)])
    assert opened(tmp_path).split("train").image_names is None
    put(tmp_path, "train", features_of(3), captions_of(3), ["a", "b"])
    with pytest.raises(DataError, match="2 identifiers for 15 captions"):
        opened(tmp_path).split("train")
    (tmp_path / "train_ids.txt").unlink()
    assert opened(tmp_path).split("train").image_names is None


def test_all_problems_of_a_split_are_told_at_once(tmp_path):
    put(tmp_path, "train", features_of(3), ["a", "", "c"], ["a", "", "b"])
    np.save(tmp_path / "train_ims.npy", np.zeros((3, 4)))
    with pytest.raises(DamagedSplitError) as caught:
        opened(tmp_path).split("train")
    assert [
        word in problem
        for word, problem in zip(
            ("float64", "without caption", "without identifier"), caught.value.problems, strict=True
        )
    ] == [True] * 3
    assert all(problem in str(caught.value) for problem in caught.value.problems)


def test_published_sizes():
    assert Flickr8K.published_images == {"train": (6000,), "dev": (1000,), "test": (1000,)}
    assert Flickr30K.published_images["dev"] == (1014, 1000)
    assert Coco.published_images["testall"] == (5000,)
    assert not Precomputed.published_images


def test_real_flickr8k():
    root = SHARED / "f8k_precomp"
    if not root.exists():
        pytest.skip("the real Flickr8K features are not here")
    data = Flickr8K(Flickr8K.Config(root=root))
    assert data.splits() == ("train", "dev")
    train, dev = data.split("train"), data.split("dev")
    assert (train.features.shape, len(train.captions)) == ((6000, 9, 512), 30000)
    assert (dev.features.shape, len(dev.captions)) == ((1000, 9, 512), 5000)
    assert train.image_names[0] == "1000268201_693b08cb0e.jpg"
    assert train.captions[-1] == train.captions[-1].strip() != ""
    assert train.image_of_caption[-1] == 5999
    assert data.fingerprint("train") != data.fingerprint("dev")


@pytest.mark.parametrize("dimensions", [2, 3])
def test_caption_vectors_are_read_where_they_are(make_folder, tmp_path, dimensions):
    root = make_folder(tmp_path / "vectors")
    vectors = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float16)
    before = Precomputed(Precomputed.Config(root=root))
    plain = before.fingerprint("train")
    assert before.split("train").text_vectors is None
    np.save(root / "train_txts.npy", vectors if dimensions == 2 else vectors[:, None])
    data = Precomputed(Precomputed.Config(root=root))
    store = data.split("train").text_vectors
    assert store.shape == (200, 1, 6)
    assert np.array_equal(store.take(np.array([7, 0]))[:, 0], vectors[[7, 0]].astype(np.float32))
    first = data.fingerprint("train")
    assert first != plain
    assert data.fingerprint("dev") == before.fingerprint("dev")
    vectors[0] += 1
    np.save(root / "train_txts.npy", vectors)
    assert Precomputed(Precomputed.Config(root=root)).fingerprint("train") not in (first, plain)


@pytest.mark.parametrize("shape", [(199, 6), (200, 2, 6)])
def test_caption_vectors_must_be_one_a_caption(make_folder, tmp_path, shape):
    root = make_folder(tmp_path / "vectors")
    np.save(root / "train_txts.npy", np.ones(shape, np.float32))
    with pytest.raises(
        DataError, match=r"train_txts\.npy has .* for 200 captions; expected one vector a caption"
    ):
        Precomputed(Precomputed.Config(root=root)).split("train")
