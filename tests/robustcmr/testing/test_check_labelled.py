"""The conformance kit for labelled data: built-ins pass, and every check catches what it is there for."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from robustcmr.data.base import LabelledData, LabelledSplit
from robustcmr.errors import ConfigError, DataError
from robustcmr.options import Options
from robustcmr.testing import LABELLED_CHECKS, ConformanceError, check_dataset

NAMES = ("cat", "dog", "owl")


class Store:
    def __init__(self, numbers):
        self.numbers = numbers

    @property
    def shape(self):
        return self.numbers.shape

    def take(self, images):
        return self.numbers[images]


class Sound(LabelledData):
    """Keeps the contract, in memory; what follows breaks one rule of it each."""

    class Config(Options):
        seed: int = 0

    def __init__(self, config):
        self.seed = config.seed

    def splits(self):
        return ("train", "dev")

    def split(self, name):
        if name not in ("train", "dev"):
            raise DataError(f"no split {name}")
        return LabelledSplit(**{**self.parts(name), **self.changed(name, size(name))})

    def parts(self, name):
        n = size(name)
        rng = np.random.default_rng(n)
        return {
            "name": name,
            "images": Store(rng.normal(size=(n, 1, 5)).astype(np.float32)),
            "texts": Store(rng.normal(size=(n, 1, 4)).astype(np.float32)),
            "labels": np.arange(n, dtype=np.int64) % 3,
            "class_names": NAMES,
            "captions": [f"text {row} of {name}" for row in range(n)],
            "picture": lambda image: Image.new("RGB", (4, 4)),
        }

    def changed(self, name, n):
        return {}

    def fingerprint(self, split):
        return f"{split}-{self.seed}"


def size(name):
    return 7 if name == "train" else 4


class DevFirst(Sound):
    def splits(self):
        return ("dev", "train")


class NoSplit(Sound):
    def split(self, name):
        return vars(super().split(name))


class Empty(Sound):
    def parts(self, name):
        whole = super().parts(name)
        none = {key: Store(whole[key].numbers[:0]) for key in ("images", "texts")}
        return {**whole, **none, "labels": whole["labels"][:0]} if name == "dev" else whole


class FewTexts(Sound):
    def changed(self, name, n):
        return {"texts": Store(np.ones((n - 1, 1, 4), dtype=np.float32))}


class FarLabels(Sound):
    def changed(self, name, n):
        return {"labels": np.arange(n, dtype=np.int64) % 3 + 1}


class RaisesKeyError(Sound):
    def split(self, name):
        return {"train": super().split, "dev": super().split}[name](name)


class InventsSplits(Sound):
    def split(self, name):
        return super().split("dev") if name == "no-such-split" else super().split(name)


class ListOfNames(Sound):
    def changed(self, name, n):
        return {"class_names": list(NAMES)}


class BlankName(Sound):
    def changed(self, name, n):
        return {"class_names": ("cat", " ", "owl")}


class SameNames(Sound):
    def changed(self, name, n):
        return {"class_names": ("cat", "dog", "cat")}


class OtherNames(Sound):
    def changed(self, name, n):
        return {"class_names": NAMES if name == "train" else NAMES[::-1]}


class UnseenClass(Sound):
    def changed(self, name, n):
        return {"class_names": (*NAMES, "yak")}


class ShortLabels(Sound):
    def changed(self, name, n):
        return {"labels": np.arange(n, dtype=np.int32) % 3}


class ColumnOfLabels(Sound):
    def changed(self, name, n):
        return {"labels": np.arange(n, dtype=np.int64)[:, None] % 3}


class Stored(Sound):
    """Other vectors of texts."""

    def changed(self, name, n):
        return {"texts": self.store(self.parts(name)["texts"].numbers, name)}


class NotFinite(Stored):
    def store(self, numbers, name):
        numbers[1, 0, 3] = np.nan
        return Store(numbers)


class Doubles(Stored):
    def store(self, numbers, name):
        return Store(numbers.astype(np.float64))


class OtherWidth(Stored):
    def store(self, numbers, name):
        return Store(numbers[:, :, : 4 if name == "train" else 3])


class Regions(Stored):
    def store(self, numbers, name):
        return Store(numbers.reshape(len(numbers), 2, 2))


class Flat(Stored):
    def store(self, numbers, name):
        return Store(numbers[:, 0])


class Sorting(Store):
    def take(self, images):
        return self.numbers[np.sort(images)]


class Sorts(Stored):
    def store(self, numbers, name):
        return Sorting(numbers)


class Remembering(Store):
    def __init__(self, numbers):
        super().__init__(numbers)
        self.taken = {}

    def take(self, images):
        return self.taken.setdefault(tuple(images), self.numbers[images])


class Remembers(Stored):
    def store(self, numbers, name):
        return Remembering(numbers)


class Locking(Store):
    def __init__(self, numbers):
        super().__init__(numbers)
        self.lock = threading.Lock()


class CannotPickle(Stored):
    def store(self, numbers, name):
        return Locking(numbers)


class FewCaptions(Sound):
    def changed(self, name, n):
        return {"captions": ["one"]}


class BlankCaption(Sound):
    def changed(self, name, n):
        return {"captions": ["a"] * (n - 1) + [" "]}


class ArrayPictures(Sound):
    def changed(self, name, n):
        return {"picture": lambda image: np.zeros((4, 4, 3))}


class OneFingerprint(Sound):
    def fingerprint(self, split):
        return "all the same"


class Counting(Sound):
    asked = 0

    def fingerprint(self, split):
        self.asked += 1
        return f"{split}{self.asked}"


class OnlyLabelsApart(Sound):
    """Two splits that nothing but a label tells apart, and a hash that does not look at labels."""

    def split(self, name):
        known = super().split("train")
        if name == "train":
            return known
        if name == "dev":
            return replace(known, name="dev", labels=np.roll(known.labels, 1))
        return super().split(name)

    def fingerprint(self, split):
        return str(self.split(split).captions)


class Unstable(Sound):
    opened = 0

    def __init__(self, config):
        super().__init__(config)
        Unstable.opened += 1
        self.seed = Unstable.opened


class OtherLabels(Unstable):
    def changed(self, name, n):
        return {"labels": (np.arange(n, dtype=np.int64) + self.seed) % 3}

    def fingerprint(self, split):
        return split


class OtherVectors(Unstable):
    def changed(self, name, n):
        return {"images": Store(np.full((n, 1, 5), self.seed, dtype=np.float32))}

    def fingerprint(self, split):
        return split


class CaptionsOnce(Unstable):
    def changed(self, name, n):
        return {"captions": None} if self.seed % 2 else {}

    def fingerprint(self, split):
        return split


BROKEN = [
    (DevFirst, {"splits"}, "of which the first is not 'train'"),
    (NoSplit, {"splits"}, "gave a dict, not a LabelledSplit"),
    (Empty, {"splits"}, "split('dev') has 0 images"),
    (FewTexts, {"splits"}, "split train has 7 images, 6 texts and 7 labels"),
    (FarLabels, {"splits"}, "split train has labels 1..3 for 3 classes"),
    (RaisesKeyError, {"unknown_split"}, "split('no-such-split') raised KeyError"),
    (InventsSplits, {"unknown_split"}, "split('no-such-split') raised nothing"),
    (ListOfNames, {"classes"}, "not a tuple of non-empty texts"),
    (BlankName, {"classes"}, "('cat', ' ', 'owl'), not a tuple of non-empty texts"),
    (SameNames, {"classes"}, "class_names of train name cat more than once"),
    (OtherNames, {"classes"}, "class_names of dev differ from those of train"),
    (UnseenClass, {"classes"}, "no pair of train is of class 3"),
    (ShortLabels, {"labels"}, "labels of train are int32 of shape (7,) for 7 pairs"),
    (ColumnOfLabels, {"labels"}, "labels of train are int64 of shape (7, 1)"),
    (NotFinite, {"vectors"}, "texts of train: 1 of the 7 sampled entries hold NaN"),
    (Doubles, {"vectors"}, "gave float64 of shape (7, 1, 4)"),
    (OtherWidth, {"vectors"}, "texts of different widths, {'train': 4, 'dev': 3}"),
    (Regions, {"vectors"}, "texts of train announce (7, 2, 2), which is not one vector an entry"),
    (Flat, {"vectors"}, "texts of train announce the shape (7, 4)"),
    (Sorts, {"take"}, "gave other entries than in ascending order"),
    (Remembers, {"fresh_arrays"}, "take gave other numbers"),
    (CannotPickle, {"pickling"}, "cannot pickle"),
    (FewCaptions, {"captions"}, "train has 1 captions for 7 texts"),
    (BlankCaption, {"captions"}, "caption 6 of train is ' '"),
    (ArrayPictures, {"pictures"}, "picture(0) of train gave a ndarray"),
    (
        OneFingerprint,
        {"fingerprint"},
        "train and dev have the same fingerprint all the same but other labels",
    ),
    (OnlyLabelsApart, {"fingerprint"}, "but other labels; "),
    (Counting, {"fingerprint"}, "another text at the second call"),
    (Unstable, {"reopening"}, "train has another fingerprint the second time"),
    (OtherLabels, {"reopening"}, "train has other labels the second time"),
    (OtherVectors, {"reopening"}, "train has other images the second time"),
    (CaptionsOnce, {"reopening"}, "train has other captions the second time"),
]


@pytest.mark.parametrize(("cls", "names", "said"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_rule_is_named(cls, names, said):
    with pytest.raises(ConformanceError) as caught:
        check_dataset(cls, skip=() if names != {"fingerprint"} else ("reopening",))
    assert set(caught.value.broken) == names
    assert said in str(caught.value)
    assert "the contract says: " in str(caught.value)


def test_every_check_is_shown_to_catch_something():
    assert set(LABELLED_CHECKS) == {name for _, names, _ in BROKEN for name in names}


def test_a_sound_data_set_passes_every_check():
    assert check_dataset(Sound, {"seed": 3}).passed == tuple(LABELLED_CHECKS)


def test_an_open_data_set_is_not_opened_again():
    assert set(check_dataset(Sound(Sound.Config())).not_applicable) == {"reopening"}
    with pytest.raises(ConfigError, match="there is no check 'pairing'"):
        check_dataset(Sound, skip=("pairing",))


def test_vectors_alone():
    class Vectors(Sound):
        def changed(self, name, n):
            return {"captions": None, "picture": None}

    assert set(check_dataset(Vectors).not_applicable) == {"captions", "pictures"}
