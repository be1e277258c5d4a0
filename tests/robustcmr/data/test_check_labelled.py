"""The check of labelled data, on data made wrong in one way at a time."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.base import LabelledData, LabelledSplit
from robustcmr.data.check import check_labelled, is_labelled
from robustcmr.data.labelled import Labelled, Wikipedia
from robustcmr.errors import DataError
from robustcmr.options import Options

WIKIPEDIA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "wikipedia"
NAMES = ("cat", "dog", "owl")


def split_of(name, n, image=None, text=None, labels=None, names=NAMES):
    rng = np.random.default_rng([n, 7])
    image = rng.normal(size=(n, 5)).astype(np.float32) if image is None else image
    text = rng.normal(size=(n, 4)).astype(np.float32) if text is None else text
    labels = np.arange(n) % len(names) if labels is None else labels
    return LabelledSplit(name, ArrayFeatures(image), ArrayFeatures(text), labels.astype(np.int64), names)


class Held(LabelledData):
    """Splits as they are given; an error in place of one is raised when it is opened."""

    Config = Options

    def __init__(self, *splits):
        self._splits = {getattr(split, "name", None) or split.args[1]: split for split in splits}

    def splits(self):
        return tuple(self._splits)

    def split(self, name):
        if isinstance(self._splits[name], DataError):
            raise DataError(self._splits[name].args[0])
        return self._splits[name]

    def fingerprint(self, split):
        return f"of {split}"


def test_what_is_counted_and_measured():
    image = np.arange(20, dtype=np.float32).reshape(4, 5) - 5
    labels = np.array([0, 2, 2, 1])
    report = check_labelled(Held(split_of("train", 4, image=image, labels=labels), split_of("dev", 6)))
    assert (report.ok, report.problems, report.warnings) == (True, (), ())
    assert report.class_names == NAMES
    train, dev = report.splits
    assert (train.name, train.pairs, train.fingerprint) == ("train", 4, "of train")
    assert train.class_counts == (1, 1, 2)
    assert dev.class_counts == (2, 2, 2)
    assert (train.image.shape, train.text.shape) == ((4, 1, 5), (4, 1, 4))
    assert (train.image.minimum, train.image.maximum, train.image.mean) == (-5.0, 14.0, 4.5)
    assert json.loads(json.dumps(report.to_dict()))["splits"][0]["class_counts"] == [1, 1, 2]


@pytest.mark.parametrize("what", ["image", "text"])
def test_numbers_that_are_none_are_named(what):
    vectors = np.ones((20, 4), dtype=np.float32)
    vectors[3, 1] = np.nan
    vectors[7, 0] = np.inf
    report = check_labelled(Held(split_of("train", 20, **{what: vectors})))
    assert report.problems == (f"train: 2 of 20 {what} vectors hold NaN or infinity: 3, 7",)
    assert not report.ok
    vectors[:, 2] = np.nan
    (problem,) = check_labelled(Held(split_of("train", 20, **{what: vectors}))).problems
    assert problem.endswith(
        "20 of 20 " + what + " vectors hold NaN or infinity: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..."
    )


def test_vectors_of_zeros_are_unusual_but_no_problem():
    text = np.ones((6, 4), dtype=np.float32)
    text[2] = 0
    report = check_labelled(Held(split_of("train", 6, text=text)))
    assert report.ok
    assert report.warnings == ("train: 1 of 6 text vectors are zero throughout: 2",)


def test_classes_without_a_pair():
    report = check_labelled(Held(split_of("train", 4), split_of("dev", 3, labels=np.array([1, 1, 1]))))
    assert report.warnings == ("dev: 2 of 3 classes have no pair: cat, owl",)


def test_an_empty_split():
    report = check_labelled(Held(split_of("train", 4), split_of("dev", 0)))
    assert report.problems == ("dev: there is no pair",)


def test_splits_that_do_not_fit_each_other():
    dev = split_of("dev", 3, image=np.ones((3, 6), dtype=np.float32), names=("dog", "cat", "owl"))
    test = replace(split_of("test", 3), texts=ArrayFeatures(np.ones((3, 2), dtype=np.float32)))
    assert check_labelled(Held(split_of("train", 4), dev, test)).problems == (
        "dev: image vectors of 6 numbers, those of train have 5",
        "dev: its classes are not those of train, in the same order",
        "test: text vectors of 2 numbers, those of train have 4",
    )


def test_a_split_that_does_not_open_and_the_others_still_looked_at():
    report = check_labelled(
        Held(split_of("train", 4), DataError("it is damaged", "dev"), split_of("test", 3))
    )
    assert report.problems == ("dev: it is damaged",)
    assert [split.pairs for split in report.splits] == [4, None, 3]
    assert report.splits[1].image is report.splits[1].text is report.splits[1].fingerprint is None


def test_one_reason_is_told_once():
    report = check_labelled(
        Held(DataError("train.npz is damaged", "train"), DataError("train.npz is damaged", "dev"))
    )
    assert report.problems == ("train: train.npz is damaged",)
    assert report.class_names == ()


@pytest.mark.parametrize(("splits", "there"), [((), "no split"), (("dev",), "dev")])
def test_no_training_split(splits, there):
    report = check_labelled(Held(*(split_of(name, 3) for name in splits)))
    assert report.problems == (f"there is no train split; the data set has {there}",)


# files


def write(folder, **sizes):
    folder.mkdir(exist_ok=True)
    for name, n in sizes.items():
        rng = np.random.default_rng(n)
        arrays = {
            "image": rng.normal(size=(n, 5)),
            "text": rng.normal(size=(n, 4)),
            "label": np.arange(n) % 10,
        }
        np.savez(folder / f"{name}.npz", **arrays)
    return folder


def test_sizes_other_than_published(tmp_path):
    folder = write(tmp_path / "data", train=20, dev=231, test=462)
    report = check_labelled(Wikipedia(Wikipedia.Config(root=folder)))
    assert report.ok
    assert report.warnings == ("train: 20 pairs; the published split has 2173",)
    (folder / "dev.npz").write_bytes(b"nothing")
    report = check_labelled(Wikipedia(Wikipedia.Config(root=folder)))
    assert len(report.problems) == 1
    assert report.problems[0].startswith("dev: ")


def test_damage_in_files_is_told_once(tmp_path):
    folder = write(tmp_path / "data", train=20, dev=10)
    columns = dict(np.load(folder / "train.npz"))
    columns["image"][4, 2] = np.nan
    np.savez(folder / "train.npz", **columns)
    report = check_labelled(Labelled(Labelled.Config(root=folder)))
    (problem,) = report.problems
    assert problem.startswith("train: ")
    assert "4" in problem


def test_which_paths_look_labelled(tmp_path):
    folder = write(tmp_path / "data", train=20)
    assert is_labelled(folder)
    assert is_labelled(folder / "train.npz")
    assert not is_labelled(tmp_path)
    assert not is_labelled(tmp_path / "gone.npz")
    (tmp_path / "train_ims.npy").touch()
    (tmp_path / "train.txt").touch()
    assert not is_labelled(tmp_path)
    (tmp_path / "train.MAT").touch()
    assert is_labelled(tmp_path)


@pytest.mark.skipif(not WIKIPEDIA.is_dir(), reason="the real Wikipedia features are not here")
def test_the_real_wikipedia():
    report = check_labelled(Wikipedia(Wikipedia.Config(root=WIKIPEDIA)))
    assert (report.ok, report.warnings) == (True, ())
    assert [split.pairs for split in report.splits] == [2173, 231]
    assert [sum(split.class_counts) for split in report.splits] == [2173, 231]
    assert report.splits[0].image.shape[2] == 128
