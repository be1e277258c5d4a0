"""Rules for data sets of both tracks: splits, features, pictures and fingerprints."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from robustcmr.data.base import FeatureStore, LabelledSplit, PairsData, PairsSplit
from robustcmr.errors import DataError
from robustcmr.testing.dataset_case import UNKNOWN_SPLIT, DataCase, n_images, n_texts
from robustcmr.testing.report import NotApplicable


def splits(case: DataCase) -> Iterator[str]:
    """Splits are a tuple of different names, train first, and each opens under its name."""
    names = case.data.splits()
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        yield f"splits() gave {names!r}, not a tuple of names"
        return
    if not names or names[0] != "train":
        yield f"splits() gave {names!r}, of which the first is not 'train'"
    if len(set(names)) != len(names):
        yield f"splits() gave {names!r}, which names one twice"
    expected = PairsSplit if isinstance(case.data, PairsData) else LabelledSplit
    for name in names:
        split = case.data.split(name)
        if not isinstance(split, expected):
            yield f"split({name!r}) gave a {type(split).__name__}, not a {expected.__name__}"
        elif split.name != name:
            yield f"split({name!r}) gave a split that calls itself {split.name!r}"
        elif n_images(split) < 1:
            yield f"split({name!r}) has {n_images(split)} images"


def unknown_split(case: DataCase) -> Iterator[str]:
    """A split that does not exist raises DataError."""
    data = case.data
    calls: dict[str, Callable[[], object]] = {"split": lambda: data.split(UNKNOWN_SPLIT)}
    if isinstance(data, PairsData):
        calls["fits"] = lambda: data.fits(UNKNOWN_SPLIT, 0, np.zeros(1, dtype=np.int64))
    for name, call in calls.items():
        try:
            call()
        except DataError:
            continue
        except Exception as error:  # of any other kind, which is to be reported
            yield f"{name}({UNKNOWN_SPLIT!r}) raised {type(error).__name__}"
        else:
            yield f"{name}({UNKNOWN_SPLIT!r}) raised nothing"


def captions(case: DataCase) -> Iterator[str]:
    """Every caption is text with at least one word; labelled data may have no captions, or one a text."""
    for split in case.splits_with("captions", "the texts have only vectors"):
        if not len(split.captions):
            yield f"{split.name} has no caption"
        elif len(split.captions) != n_texts(split):
            yield f"{split.name} has {len(split.captions)} captions for {n_texts(split)} texts"
        for row, caption in enumerate(split.captions):
            if not isinstance(caption, str) or not caption.strip():
                yield f"caption {row} of {split.name} is {caption!r}"
                break


def take(case: DataCase) -> Iterator[str]:
    """Entries that take returns are in the requested order, with repeats."""
    for what, store in _required(case):
        chosen = case.some(store.shape[0])
        ordered = np.array(store.take(chosen))
        # backwards, and the first three times
        places = np.concatenate([np.arange(len(chosen))[::-1], [0, 0]])
        if not np.array_equal(store.take(chosen[places]), ordered[places], equal_nan=True):
            yield f"{what}: take of {chosen[places].tolist()} gave other entries than in ascending order"


def fresh_arrays(case: DataCase) -> Iterator[str]:
    """Arrays that take returns may be written to, as training does, without changing the data."""
    for what, store in _required(case):
        found = case.sampled(store)
        before = np.array(found)
        if not found.flags.writeable:
            yield f"{what}: take gave an array that cannot be written to"
            continue
        found[...] = found + 1.0
        if not np.array_equal(case.sampled(store), before, equal_nan=True):
            yield f"{what}: after writing into the array of take, take gave other numbers"


def pickling(case: DataCase) -> Iterator[str]:
    """Features can be pickled, as data loaders send them to their worker processes."""
    for what, store in _required(case):
        copied: FeatureStore = pickle.loads(pickle.dumps(store))
        if not np.array_equal(case.sampled(copied), case.sampled(store), equal_nan=True):
            yield f"{what}: a pickled copy gave other numbers"


def _required(case: DataCase) -> list[tuple[str, FeatureStore]]:
    found = list(case.stores)
    if not found:
        raise NotApplicable("the data set has only pictures")
    return found


def pictures(case: DataCase) -> Iterator[str]:
    """If a split has pictures, picture(i) gives a PIL image for every image."""
    for split in case.splits_with("picture", "the data set has only features"):
        for image in case.some(n_images(split)):
            found = split.picture(int(image))
            if not isinstance(found, Image.Image) or min(found.size) < 1:
                yield f"picture({image}) of {split.name} gave a {type(found).__name__}"
                break


def fingerprint(case: DataCase) -> Iterator[str]:
    """A fingerprint is text, the same at every call, and different for different content."""
    found: dict[str, str] = {}
    for name in case.data.splits():
        value = case.data.fingerprint(name)
        if not isinstance(value, str) or not value:
            yield f"fingerprint({name!r}) gave {value!r}"
            return
        if case.data.fingerprint(name) != value:
            yield f"fingerprint({name!r}) gave another text at the second call"
        for other, theirs in found.items():
            contents = [case.content(case.data.split(each)) for each in (other, name)]
            if theirs == value and (apart := _differences(*contents)):
                yield f"{other} and {name} have the same fingerprint {value} but other {', '.join(apart)}"
        found[name] = value


def reopening(case: DataCase) -> Iterator[str]:
    """Opened a second time, a data set has the same splits, content and fingerprints."""
    again = case.again
    if again is None:
        raise NotApplicable("it was given open; give its class and options to have it opened twice")
    if again.splits() != case.data.splits():
        yield f"splits() gave {again.splits()} the second time, {case.data.splits()} the first"
        return
    for split in case.splits:
        if again.fingerprint(split.name) != case.data.fingerprint(split.name):
            yield f"{split.name} has another fingerprint the second time"
        for what in _differences(case.content(split), case.content(again.split(split.name))):
            yield f"{split.name} has other {what} the second time"


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the names of the parts in which the contents of two splits differ."""
    return [what for what in {**one, **other} if not _same(one.get(what), other.get(what))]


def _same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return list(one) == list(other)
