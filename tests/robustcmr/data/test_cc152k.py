from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robustcmr.data.cc152k import CC152K
from robustcmr.data.folder import DamagedSplitError
from robustcmr.errors import DataError

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def put(root: Path, split: str, features: np.ndarray, rows: list[str]) -> None:
    np.save(root / f"{split}_ims.npy", features)
    (root / f"{split}_caps.tsv").write_text("".join(row + "\n" for row in rows), encoding="utf-8")


def features_of(n_images: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n_images, 3, 4)).astype(np.float32)


def opened(root: Path) -> CC152K:
    return CC152K(CC152K.Config(root=root))


def test_one_caption_an_image(tmp_path):
    features = features_of(3)
    put(tmp_path, "train", features, ['7_1\tthe "best" dog', "8_1\tcafé", "9_1\ta cat\thttp://example.org"])
    data = opened(tmp_path)
    split = data.split("train")
    assert data.splits() == ("train",)
    assert split.n_images == 3
    assert list(split.captions) == ['the "best" dog', "café", "a cat"]
    assert list(split.image_names) == ["7_1", "8_1", "9_1"]
    assert split.image_of_caption.dtype == np.int64
    assert split.image_of_caption.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(split.features.take(np.array([2, 0])), features[[2, 0]])
    assert data.split("train") is split
    assert len(data.fingerprint("train")) == 16
    assert data.features_path("train") == tmp_path / "train_ims.npy"


def test_training_pairs_are_not_trusted(tmp_path):
    for name in ("train", "dev", "test"):
        put(tmp_path, name, features_of(1), ["1\ta"])
    data = opened(tmp_path)
    assert [data.split(name).trusted for name in data.splits()] == [False, True, True]


def test_damaged_splits(tmp_path):
    put(tmp_path, "train", features_of(3), ["1\ta", "2\tb"])
    with pytest.raises(DataError, match="3 rows for 2 captions; expected one row a caption"):
        opened(tmp_path).split("train")
    put(tmp_path, "train", np.zeros((3, 4)), ["1\ta", "2 b"])
    with pytest.raises(DamagedSplitError) as caught:
        opened(tmp_path).split("train")
    assert ["float64" in caught.value.problems[0], "without a tab" in caught.value.problems[1]] == [
        True,
        True,
    ]


def test_half_a_split_and_another_layout(tmp_path):
    with pytest.raises(DataError, match=r"expected \{split\}_ims\.npy and \{split\}_caps\.tsv"):
        opened(tmp_path)
    (tmp_path / "dev_caps.tsv").write_text("1\ta\n", encoding="utf-8")
    data = opened(tmp_path)
    assert data.splits() == ()
    assert data.folder_problems() == [f"{tmp_path} has dev_caps.tsv but no dev_ims.npy; a split needs both"]
    with pytest.raises(DataError, match=r"no dev_ims\.npy"):
        data.split("dev")
    with pytest.raises(DataError, match="no split 'train'; it has no complete split"):
        data.split("train")


def test_real_rows(tmp_path):
    path = SHARED / "cc152k_urls" / "test_caps_img_urls.csv"
    if not path.exists():
        pytest.skip("the real CC152K rows are not here")
    (tmp_path / "test_caps.tsv").write_bytes(path.read_bytes())
    np.save(tmp_path / "test_ims.npy", np.ones((1000, 1, 2), np.float16))
    split = opened(tmp_path).split("test")
    assert len(split.captions) == split.n_images == CC152K.published_images["test"][0]
    assert split.image_names[0] == "1100_1931474802"
