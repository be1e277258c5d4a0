"""The conformance kit for data sets: built-ins pass, and every check catches the fault it is there for."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from robustcmr.data.base import DataSet, PairsData, PairsSplit
from robustcmr.errors import ConfigError, DataError
from robustcmr.options import Options
from robustcmr.testing import DATASET_CHECKS, ConformanceError, check_dataset


class Store:
    def __init__(self, numbers):
        self.numbers = numbers

    @property
    def shape(self):
        return self.numbers.shape

    def take(self, images):
        return self.numbers[images]


class Sound(PairsData):
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
        return PairsSplit(**{**self.parts(name, 6 if name == "train" else 4), **self.changed(name)})

    def parts(self, name, n):
        numbers = np.random.default_rng(n).normal(size=(n, 3, 5)).astype(np.float32)
        return {
            "name": name,
            "features": Store(numbers),
            "captions": [f"caption {row} of {name}" for row in range(2 * n)],
            "image_of_caption": np.arange(2 * n, dtype=np.int64) // 2,
            "picture": lambda image: Image.new("RGB", (4, 4)),
            "image_names": [f"{name}{image}.png" for image in range(n)],
            "text_vectors": Store(numbers.repeat(2, 0)[:, :1]),
        }

    def changed(self, name):
        return {}

    def fingerprint(self, split):
        return f"{split}-{self.seed}"


class DevFirst(Sound):
    def splits(self):
        return ("dev", "train")


class ListOfSplits(Sound):
    def splits(self):
        return ["train", "dev"]


class SameTwice(Sound):
    def splits(self):
        return ("train", "dev", "dev")


class OtherName(Sound):
    def changed(self, name):
        return {"name": "train"}


class Empty(Sound):
    def parts(self, name, n):
        return super().parts(name, 0)


class NoSplit(Sound):
    def split(self, name):
        return vars(super().split(name))


class RaisesKeyError(Sound):
    def split(self, name):
        return {"train": super().split, "dev": super().split}[name](name)


class InventsSplits(Sound):
    def split(self, name):
        return super().split("dev") if name == "no-such-split" else super().split(name)


class BlankCaption(Sound):
    def changed(self, name):
        return {"captions": ["a", " "] * (6 if name == "train" else 4)}


class NoCaption(Sound):
    def changed(self, name):
        return {"captions": [], "image_of_caption": np.zeros(0, dtype=np.int64), "text_vectors": None}


class ShortIndex(Sound):
    def changed(self, name):
        return {"image_of_caption": np.zeros(12 if name == "train" else 8, dtype=np.int32)}


class FarImages(Sound):
    def changed(self, name):
        return {"image_of_caption": np.full(12 if name == "train" else 8, 5, dtype=np.int64)}


class BareImages(Sound):
    def changed(self, name):
        return {"image_of_caption": np.zeros(12 if name == "train" else 8, dtype=np.int64)}


class Stored(Sound):
    """Other features."""

    def changed(self, name):
        return {"features": self.store(super().parts(name, 6 if name == "train" else 4)["features"], name)}


class NotFinite(Stored):
    def store(self, store, name):
        store.numbers[1, 2, 3] = np.nan
        return store


class Doubles(Stored):
    def store(self, store, name):
        return Store(store.numbers.astype(np.float64))


class OtherWidth(Stored):
    def store(self, store, name):
        return Store(store.numbers[:, :, : 5 if name == "train" else 4])


class Flat(Stored):
    def store(self, store, name):
        return Store(store.numbers[:, 0])


class Sorting(Store):
    def take(self, images):
        return self.numbers[np.sort(images)]


class Sorts(Stored):
    def store(self, store, name):
        return Sorting(store.numbers)


class Remembering(Store):
    def __init__(self, numbers):
        super().__init__(numbers)
        self.taken = {}

    def take(self, images):
        return self.taken.setdefault(tuple(images), self.numbers[images])


class Remembers(Stored):
    def store(self, store, name):
        return Remembering(store.numbers)


class ReadOnly(Store):
    def take(self, images):
        found = self.numbers[images]
        found.flags.writeable = False
        return found


class Locked(Stored):
    def store(self, store, name):
        return ReadOnly(store.numbers)


class Locking(Store):
    def __init__(self, numbers):
        super().__init__(numbers)
        self.lock = threading.Lock()


class CannotPickle(Stored):
    def store(self, store, name):
        return Locking(store.numbers)


class Reduced(Store):
    def __reduce__(self):
        return Store, (self.numbers * 2,)


class PicklesWrong(Stored):
    def store(self, store, name):
        return Reduced(store.numbers)


class FewVectors(Sound):
    def changed(self, name):
        return {"text_vectors": Store(np.ones((3, 1, 2), dtype=np.float32))}


class TrainVectors(Sound):
    def changed(self, name):
        return {} if name == "train" else {"text_vectors": None}


class ArrayPictures(Sound):
    def changed(self, name):
        return {"picture": lambda image: np.zeros((4, 4, 3))}


class FewNames(Sound):
    def changed(self, name):
        return {"image_names": ["one"]}


class NumberNames(Sound):
    def changed(self, name):
        return {"image_names": list(range(6 if name == "train" else 4))}


class FitsNothing(Sound):
    def fits(self, split, caption_row, images):
        super().fits(split, caption_row, images)
        return np.zeros(len(images), dtype=bool)


class FitsOne(Sound):
    def fits(self, split, caption_row, images):
        return bool(super().fits(split, caption_row, images).all())


class OneFingerprint(Sound):
    def fingerprint(self, split):
        return "all the same"


class NumberFingerprint(Sound):
    def fingerprint(self, split):
        return 7


class Counting(Sound):
    asked = 0

    def fingerprint(self, split):
        self.asked += 1
        return f"{split}{self.asked}"


class Unstable(Sound):
    opened = 0

    def __init__(self, config):
        super().__init__(config)
        Unstable.opened += 1
        self.seed = Unstable.opened


class OtherCaptions(Unstable):
    def changed(self, name):
        return {"captions": [f"caption {row} {self.seed}" for row in range(12 if name == "train" else 8)]}

    def fingerprint(self, split):
        return split


class OtherPairing(Unstable):
    def changed(self, name):
        rows = np.arange(12 if name == "train" else 8, dtype=np.int64)
        return {"image_of_caption": np.roll(rows // 2, self.seed)}

    def fingerprint(self, split):
        return split


class OtherSplits(Unstable):
    def splits(self):
        return ("train", "dev") if self.seed % 2 else ("train",)


BROKEN = [
    (DevFirst, {"splits"}, "of which the first is not 'train'"),
    (ListOfSplits, {"splits"}, "not a tuple of names"),
    (SameTwice, {"splits"}, "which names one twice"),
    (OtherName, {"splits"}, "a split that calls itself 'train'"),
    (Empty, {"splits"}, "split('train') has 0 images"),
    (NoSplit, {"splits"}, "gave a dict, not a PairsSplit"),
    (RaisesKeyError, {"unknown_split"}, "split('no-such-split') raised KeyError"),
    (InventsSplits, {"unknown_split"}, "split('no-such-split') raised nothing"),
    (BlankCaption, {"captions"}, "caption 1 of train is ' '"),
    (NoCaption, {"captions", "pairing"}, "train has no caption"),
    (ShortIndex, {"pairing"}, "image_of_caption of train is int32 of shape (12,)"),
    (FarImages, {"pairing"}, "contains 5..5 for 4 images"),
    (BareImages, {"pairing"}, "5 of 6 images of train have no caption"),
    (NotFinite, {"features"}, "1 of the 6 sampled entries hold NaN"),
    (Doubles, {"features"}, "gave float64 of shape (6, 3, 5)"),
    (OtherWidth, {"features"}, "different widths, {'train': 5, 'dev': 4}"),
    (Flat, {"features"}, "announce the shape (6, 5)"),
    (Sorts, {"take"}, "gave other entries than in ascending order"),
    (Remembers, {"fresh_arrays"}, "take gave other numbers"),
    (Locked, {"fresh_arrays"}, "cannot be written to"),
    (CannotPickle, {"pickling"}, "cannot pickle"),
    (PicklesWrong, {"pickling"}, "a pickled copy gave other numbers"),
    (FewVectors, {"text_vectors"}, "announce (3, 1, 2) for 12 captions"),
    (TrainVectors, {"text_vectors"}, "{'train': 5, 'dev': None}"),
    (ArrayPictures, {"pictures"}, "picture(0) of train gave a ndarray"),
    (FewNames, {"image_names"}, "1 image_names for 6 images"),
    (NumberNames, {"image_names"}, "empty or not text"),
    (FitsNothing, {"fits"}, "fits('train', 0) is False for image 0"),
    (FitsOne, {"fits"}, "fits('train', 0) gave bool of shape ?"),
    (
        OneFingerprint,
        {"fingerprint"},
        "train and dev have the same fingerprint all the same but other captions, pairing, features",
    ),
    (NumberFingerprint, {"fingerprint"}, "fingerprint('train') gave 7"),
    (Counting, {"fingerprint"}, "another text at the second call"),
    (Unstable, {"reopening"}, "train has another fingerprint"),
    (OtherCaptions, {"reopening"}, "train has other captions"),
    (OtherPairing, {"reopening"}, "train has other pairing the second time"),
    (OtherSplits, {"reopening"}, "the second time"),
]


@pytest.mark.parametrize(("cls", "names", "said"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_rule_is_named(cls, names, said):
    with pytest.raises(ConformanceError) as caught:
        check_dataset(cls, skip=() if names != {"fingerprint"} else ("reopening",))
    assert set(caught.value.broken) == names
    assert said in str(caught.value)
    assert "the contract says: " in str(caught.value)


def test_every_check_is_shown_to_catch_something():
    assert set(DATASET_CHECKS) == {name for _, names, _ in BROKEN for name in names}


def test_a_sound_data_set_passes_every_check():
    assert check_dataset(Sound, {"seed": 3}).passed == tuple(DATASET_CHECKS)


class SameContent(Sound):
    """Selects and tests on the same data."""

    def splits(self):
        return ("train", "dev", "test")

    def split(self, name):
        return replace(super().split("dev"), name="test") if name == "test" else super().split(name)

    def fingerprint(self, split):
        return super().fingerprint("dev" if split == "test" else split)


def test_equal_splits_may_have_one_fingerprint():
    assert "fingerprint" in check_dataset(SameContent).passed


class OtherFeatures(Unstable):
    def changed(self, name):
        store = super().parts(name, 6 if name == "train" else 4)["features"]
        return {"features": Store(store.numbers + self.seed)}

    def fingerprint(self, split):
        return split


def test_other_features_the_second_time_are_reported():
    with pytest.raises(ConformanceError, match="train has other features the second time"):
        check_dataset(OtherFeatures)


def test_an_open_data_set_is_not_opened_again():
    report = check_dataset(Sound(Sound.Config()))
    assert set(report.not_applicable) == {"reopening"}
    with pytest.raises(ConfigError, match="config is given for a data set that is open already"):
        check_dataset(Sound(Sound.Config()), {"seed": 1})


def test_pictures_alone():
    class Pictures(Sound):
        def changed(self, name):
            return {"features": None, "text_vectors": None}

    report = check_dataset(Pictures)
    assert set(report.not_applicable) == {"features", "take", "fresh_arrays", "pickling", "text_vectors"}


def test_features_alone():
    class Features(Sound):
        def changed(self, name):
            return {"picture": None, "image_names": None}

    assert set(check_dataset(Features).not_applicable) == {"pictures", "image_names"}


def test_what_is_no_data_set_is_refused():
    with pytest.raises(ConformanceError, match="does not derive from"):
        check_dataset(dict)

    class OfNoTrack(DataSet):
        class Config(Options):
            pass

        def __init__(self, config):
            pass

        def splits(self):
            return ("train",)

        def split(self, name):
            return name

        def fingerprint(self, split):
            return split

    with pytest.raises(ConformanceError, match="derives from neither PairsData nor LabelledData"):
        check_dataset(OfNoTrack)
    with pytest.raises(ConfigError, match="expected at least 2 images"):
        check_dataset(Sound, sample=1)
    with pytest.raises(ConfigError, match="there is no check 'take2'; did you mean 'take'"):
        check_dataset(Sound, skip=("take2",))
