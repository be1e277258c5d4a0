from __future__ import annotations

import json
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest

from robustcmr.data.base import PairsData, PairsSplit
from robustcmr.data.captions import LOW_COVERAGE
from robustcmr.data.cc152k import CC152K
from robustcmr.data.check import check_data, open_folder
from robustcmr.data.precomp import Flickr8K, Precomputed
from robustcmr.data.vocabulary import SPECIAL_WORDS, Vocabulary
from robustcmr.errors import DataError
from robustcmr.options import Options

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def features_of(n_images: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(n_images).normal(size=(n_images, 3, 4)).astype(dtype)


def put(root: Path, split: str, features: np.ndarray, captions: list[str], layout: str = "txt") -> None:
    np.save(root / f"{split}_ims.npy", features)
    rows = captions if layout == "txt" else [f"{row}\t{caption}" for row, caption in enumerate(captions)]
    (root / f"{split}_caps.{layout}").write_text("".join(row + "\n" for row in rows), encoding="utf-8")


def captions_of(n_images: int) -> list[str]:
    return [f"image {image} , caption {caption} ." for image in range(n_images) for caption in range(5)]


def check_folder(root: Path, vocabulary: Path | None = None):
    return check_data(open_folder(root), vocabulary)


class Memory:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape

    def take(self, images: np.ndarray) -> np.ndarray:
        return self.array[images]


class Foreign(PairsData):
    """A data set by somebody else, with splits given as they are or as errors."""

    Config = Options

    def __init__(self, **splits: PairsSplit | DataError) -> None:
        self.given = splits

    def splits(self) -> tuple[str, ...]:
        return tuple(self.given)

    def split(self, name: str) -> PairsSplit:
        found = self.given[name]
        if isinstance(found, DataError):
            raise found
        return found

    def fingerprint(self, split: str) -> str:
        return f"mark of {split}"


def made(
    captions: list[str], pairing: list[int], n_images: int, names: list[str] | None = None
) -> PairsSplit:
    return PairsSplit(
        "x", Memory(features_of(n_images)), captions, np.array(pairing, np.int64), image_names=names
    )


def test_a_sound_folder(tmp_path):
    features = features_of(6, "float16")
    put(tmp_path, "train", features.repeat(5, axis=0), captions_of(6))
    put(tmp_path, "dev", features_of(2), [*captions_of(2)[:9], "image 0 , caption 0 ."])
    report = check_folder(tmp_path)
    assert report.ok
    assert (report.problems, report.warnings, report.vocabulary_words) == ((), (), None)
    train, dev = report.splits
    assert (train.name, dev.name) == ("train", "dev")
    assert train.features.shape == (6, 3, 4)
    assert (train.features.dtype, dev.features.dtype) == ("float16", "float32")
    assert train.features.file_bytes == (tmp_path / "train_ims.npy").stat().st_size
    assert train.features.images_scanned == 6
    assert train.features.minimum == pytest.approx(features.min())
    assert train.features.maximum == pytest.approx(features.max())
    assert train.features.mean == pytest.approx(features.astype("float64").mean())
    assert (train.captions.count, train.captions.empty, train.captions.duplicates) == (30, 0, 0)
    assert (train.captions.shortest, train.captions.mean_length, train.captions.longest) == (6, 6.0, 6)
    assert dev.captions.duplicates == 1
    assert train.fingerprint == open_folder(tmp_path).fingerprint("train") != dev.fingerprint


def test_the_report_as_plain_values(tmp_path):
    features = features_of(6)
    features[3, 1, 1] = np.nan
    put(tmp_path, "train", features, captions_of(6))
    plain = check_folder(tmp_path).to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False))["ok"] is False
    assert plain["splits"][0]["features"]["non_finite_first"] == ((3, 1),)


def test_every_problem_of_every_split_is_listed(tmp_path):
    features = features_of(6)
    features[1, :2, 0], features[4, 2] = np.nan, -np.inf
    features[5] = 0
    put(tmp_path, "dev", features, captions_of(6))
    empty = captions_of(6)
    empty[2] = empty[7] = ""
    put(tmp_path, "test", features, empty)  # captions and features are damaged
    put(tmp_path, "testall", features_of(4), captions_of(6))
    (tmp_path / "testall_ids.txt").write_text("a\nb\n", encoding="utf-8")
    put(tmp_path, "extra", features_of(6), captions_of(6))
    (tmp_path / "extra_ims.npy").write_bytes((tmp_path / "extra_ims.npy").read_bytes()[:-1])
    (tmp_path / "train_caps.txt").write_text("a\n", encoding="utf-8")
    np.save(tmp_path / "lost_ims.npy", features)

    report = check_folder(tmp_path, vocabulary=tmp_path / "vocab.json")
    expected = [
        "there is no vocabulary file",
        "has train_caps.txt but no train_ims.npy",
        "has lost_ims.npy but no lost_caps.txt",
        "there is no train split; the data set has dev, test, testall, extra",
        "dev: 2 of 6 images hold NaN or infinity: 1 (2 of 3 regions), 4 (1 of 3 regions)",
        "dev: 1 of 6 images are zero throughout: 5",
        "2 lines (line 3, 8) without caption",
        "test: 2 of 6 rows hold NaN or infinity",
        "test: 1 of 6 rows are zero throughout",
        "4 rows and",
        "2 identifiers for 30 captions",
        "is truncated",
    ]
    for sentence in expected:
        assert sum(sentence in problem for problem in report.problems) == 1, sentence
    assert len(report.problems) == len(expected)
    assert not report.ok
    by_name = {split.name: split for split in report.splits}
    assert by_name["test"].captions is None
    assert by_name["test"].features.non_finite_images == 2
    assert by_name["extra"].features is None
    assert by_name["extra"].fingerprint is None


def test_many_bad_images_are_counted_and_ten_named(tmp_path):
    features = features_of(30)
    features[:12] = 0
    features[12:25, 0, 0] = np.inf
    put(tmp_path, "train", features, captions_of(30))
    report = check_folder(tmp_path)
    found = report.splits[0].features
    assert (found.zero_images, found.zero_first) == (12, tuple(range(10)))
    assert (found.non_finite_images, len(found.non_finite_first)) == (13, 10)
    assert [problem.endswith(", ...") for problem in report.problems] == [True, True]


def test_sizes_other_than_published_are_warnings(tmp_path):
    put(tmp_path, "train", features_of(6), captions_of(6))
    put(tmp_path, "dev", features_of(2), captions_of(2))
    recipe = Flickr8K(Flickr8K.Config(root=tmp_path))
    report = check_data(recipe)
    assert report.ok
    assert report.warnings == (
        "train: 6 images; the published split has 6000",
        "dev: 2 images; the published split has 1000",
    )


def test_vocabulary_coverage(tmp_path):
    put(tmp_path, "train", features_of(6), captions_of(6))
    Vocabulary.build(captions_of(6)).save(tmp_path / "good.json")
    report = check_folder(tmp_path, vocabulary=tmp_path / "good.json")
    assert report.vocabulary_words == len(Vocabulary.build(captions_of(6)))
    assert (report.splits[0].captions.known_share, report.warnings) == (1.0, ())
    Vocabulary([*SPECIAL_WORDS, "image", ","]).save(tmp_path / "poor.json")
    report = check_folder(tmp_path, vocabulary=tmp_path / "poor.json")
    assert report.splits[0].captions.known_share == pytest.approx(2 / 6)
    assert report.ok
    assert "knows only 33.3% of the words" in report.warnings[0]


@pytest.mark.parametrize(
    ("train", "dev", "share"),
    [
        ([f"un café {i % 5}" for i in range(30)], [normalize("NFD", "un café 3")] * 5, 1.0),
        ([f"一只狗和{'一二三四五'[i % 5]}只猫" for i in range(30)], ["两只狗"] * 5, 2 / 3),
        ([f"a dog {i % 5}" for i in range(30)], ["ein Hund 3"] * 5, 1 / 3),
    ],
)
def test_words_of_other_splits_are_compared_with_those_of_training(tmp_path, train, dev, share):
    put(tmp_path, "train", features_of(6), train)
    put(tmp_path, "dev", features_of(1), dev)
    report = check_folder(tmp_path)
    assert [split.captions.known_share for split in report.splits] == [None, pytest.approx(share)]
    assert report.vocabulary_words is None
    assert [f"dev: the vocabulary knows only {share:.1%}" in text for text in report.warnings] == [True] * (
        share < LOW_COVERAGE
    )


def test_the_pairing_is_reported(tmp_path):
    put(tmp_path, "train", features_of(6), captions_of(6))
    (tmp_path / "train_ids.txt").write_text("\n".join(f"{i % 6}.jpg" for i in range(30)), encoding="utf-8")
    put(tmp_path, "dev", features_of(2), captions_of(2))
    assert [split.pairing for split in check_folder(tmp_path).splits] == [
        "by the identifiers of train_ids.txt",
        "by position, 5 consecutive captions an image; there is no dev_ids.txt to confirm it",
    ]


def test_cc152k_is_told_by_its_files(tmp_path):
    put(tmp_path, "train", features_of(6), [f"caption {row}" for row in range(6)], layout="tsv")
    assert isinstance(open_folder(tmp_path), CC152K)
    report = check_folder(tmp_path)
    assert report.ok
    assert report.splits[0].features.shape == (6, 3, 4)
    assert report.warnings == ("train: 6 images; the published split has 150000",)


def test_features_alone_are_a_precomputed_folder_without_captions(tmp_path):
    np.save(tmp_path / "train_ims.npy", features_of(2))
    assert isinstance(open_folder(tmp_path), Precomputed)
    report = check_folder(tmp_path)
    assert ["no train_caps.txt" in report.problems[0], "no complete split" in report.problems[1]] == [
        True,
        True,
    ]


def test_unknown_layouts(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        check_folder(tmp_path / "none")
    (tmp_path / "cat.jpg").touch()
    (tmp_path / "._train_caps.tsv").touch()
    with pytest.raises(DataError, match=r"no known layout, it has \._train_caps\.tsv, cat\.jpg"):
        check_folder(tmp_path)
    (tmp_path / "train_caps.csv").touch()
    with pytest.raises(DataError) as caught:
        check_folder(tmp_path)
    assert str(caught.value).endswith(
        "expected {split}_ims.npy with {split}_caps.txt (one a line, those of an image one after another) or "
        "{split}_caps.tsv (lines of identifier<TAB>caption); train_caps.csv is not read, convert it"
    )
    (tmp_path / "train_caps.txt").touch()
    (tmp_path / "train_caps.tsv").touch()
    with pytest.raises(DataError, match=r"two layouts, \*_caps\.txt and \*_caps\.tsv"):
        check_folder(tmp_path)


def test_data_sets_by_others():
    report = check_data(Foreign(train=made(["a", "b"], [0, 1], 2, ["i", "j"])))
    assert report.ok
    features = report.splits[0].features
    assert (features.dtype, features.file_bytes, report.splits[0].fingerprint) == (
        None,
        None,
        "mark of train",
    )
    report = check_data(
        Foreign(
            train=made(["a", " "], [0, 0], 3),
            short=made(["a", "b"], [0], 1),
            outside=made(["a", "b"], [0, 2], 2),
            names=made(["a", "b"], [0, 1], 2, ["i"]),
            bare=made([], [], 1),
            broken=DataError("the disk is on fire"),
        )
    )
    assert report.problems == (
        "train: 2 of 3 images have no caption",
        "train: 1 of 2 captions contain no word",
        "short: 2 captions but 1 entries of image_of_caption",
        "outside: captions belong to images 0..2, but there are 2 images",
        "names: 1 image names for 2 images",
        "bare: there is no caption",
        "broken: the disk is on fire",
    )
    assert report.splits[-1].features is None


def test_real_flickr8k():
    root = SHARED / "f8k_precomp"
    if not root.exists():
        pytest.skip("the real Flickr8K features are not here")
    report = check_data(
        Flickr8K(Flickr8K.Config(root=root)), vocabulary=SHARED / "vocab" / "f8k_precomp_vocab.json"
    )
    assert report.ok
    assert (report.warnings, report.vocabulary_words) == ((), 3159)
    assert [split.features.shape for split in report.splits] == [(6000, 9, 512), (1000, 9, 512)]
    whole = np.load(root / "dev_ims.npy").astype("float64")
    assert report.splits[1].features.mean == pytest.approx(whole.mean())
    assert (report.splits[1].features.minimum, report.splits[1].features.maximum) == (
        whole.min(),
        whole.max(),
    )
