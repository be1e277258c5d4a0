"""Rules that a data set of either track keeps: about splits, features, pictures and fingerprints."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from robustcmr.data.base import FeatureStore
from robustcmr.errors import DataError
from robustcmr.testing.dataset_case import UNKNOWN_SPLIT, DataCase
from robustcmr.testing.report import NotApplicable
from robustcmr.types import IntArray


def splits(case: DataCase[Any, Any]) -> Iterator[str]:
    """Splits are a tuple of different names, train first, and each opens under its name."""
    names = case.data.splits()
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        yield f"splits() gave {names!r}, not a tuple of names"
        return
    if not names or names[0] != "train":
        yield f"splits() gave {names!r}, of which the first is not 'train'"
    if len(set(names)) != len(names):
        yield f"splits() gave {names!r}, which names one twice"
    for name in names:
        split = case.open(case.data, name)
        if not isinstance(split, case.split_type):
            yield f"split({name!r}) gave a {type(split).__name__}, not a {case.split_type.__name__}"
        elif split.name != name:
            yield f"split({name!r}) gave a split that calls itself {split.name!r}"
        elif case.n_images(split) < 1:
            yield f"split({name!r}) has {case.n_images(split)} images"


def unknown_split(case: DataCase[Any, Any]) -> Iterator[str]:
    """A split that does not exist raises DataError."""
    for name, call in case.unknown_split().items():
        try:
            call()
        except DataError:
            continue
        except Exception as error:  # any other kind is what is to be reported
            yield f"{name}({UNKNOWN_SPLIT!r}) raised {type(error).__name__}"
        else:
            yield f"{name}({UNKNOWN_SPLIT!r}) raised nothing"


def captions(case: DataCase[Any, Any]) -> Iterator[str]:
    """Every caption is text with at least one word; where they need not be given, there is one a text."""
    told = 0
    for split in case.opened():
        if split.captions is None:
            continue
        told += 1
        if not len(split.captions):
            yield f"{split.name} has no caption"
        elif len(split.captions) != case.n_texts(split):
            yield f"{split.name} has {len(split.captions)} captions for {case.n_texts(split)} texts"
        for row, caption in enumerate(split.captions):
            if not isinstance(caption, str) or not caption.strip():
                yield f"caption {row} of {split.name} is {caption!r}"
                break
    if not told:
        raise NotApplicable("the texts are vectors alone")


def misshapen(what: str, store: FeatureStore, chosen: IntArray) -> Iterator[str]:
    """What is wrong with the shape, type and numbers of some entries."""
    shape = store.shape
    if len(shape) != 3 or min(shape) < 1:
        yield f"{what} announce the shape {shape}"
        return
    found = store.take(chosen)
    wanted = (len(chosen), *shape[1:])
    if not isinstance(found, np.ndarray) or found.shape != wanted or found.dtype != np.float32:
        kind, given = getattr(found, "dtype", type(found).__name__), getattr(found, "shape", "?")
        yield f"{what}: take of {len(chosen)} entries gave {kind} of shape {given}, not float32 of {wanted}"
    elif not np.isfinite(found).all():
        bad = int((~np.isfinite(found).all(axis=(1, 2))).sum())
        yield f"{what}: {bad} of the {len(chosen)} entries looked at hold NaN or infinite numbers"


def unequal(what: str, widths: Mapping[str, int | None]) -> Iterator[str]:
    """That widths, by split, are not all the same."""
    if len(set(widths.values())) > 1:
        yield f"the splits have {what} of different widths, {dict(widths)}"


def take(case: DataCase[Any, Any]) -> Iterator[str]:
    """What take gives is in the order asked for, and repeats are given again."""
    for what, store in _required(case):
        chosen = case.some(store.shape[0])
        ordered = np.array(store.take(chosen))
        places = np.concatenate([np.arange(len(chosen))[::-1], [0, 0]])  # backwards, and the first thrice
        if not np.array_equal(store.take(chosen[places]), ordered[places], equal_nan=True):
            yield f"{what}: take of {chosen[places].tolist()} gave other entries than one after another"


def fresh_arrays(case: DataCase[Any, Any]) -> Iterator[str]:
    """What take gives may be written to, as training does, and the data stays as it is."""
    for what, store in _required(case):
        found = case.looked_at(store)
        before = np.array(found)
        if not found.flags.writeable:
            yield f"{what}: take gave an array that cannot be written to"
            continue
        found[...] = found + 1.0
        if not np.array_equal(case.looked_at(store), before, equal_nan=True):
            yield f"{what}: after writing into what take gave, take gave other numbers"


def pickling(case: DataCase[Any, Any]) -> Iterator[str]:
    """Features can be pickled, as processes that load batches get them that way."""
    for what, store in _required(case):
        copied: FeatureStore = pickle.loads(pickle.dumps(store))
        if not np.array_equal(case.looked_at(copied), case.looked_at(store), equal_nan=True):
            yield f"{what}: a pickled copy gave other numbers"


def _required(case: DataCase[Any, Any]) -> Iterator[tuple[str, FeatureStore]]:
    found = list(case.stores())
    if not found:
        raise NotApplicable("the data set has pictures alone")
    yield from found


def pictures(case: DataCase[Any, Any]) -> Iterator[str]:
    """Where there are pictures, picture(i) gives a PIL image of every image of the split."""
    seen = 0
    for split in case.opened():
        if split.picture is None:
            continue
        for image in case.some(case.n_images(split)):
            seen += 1
            found = split.picture(int(image))
            if not isinstance(found, Image.Image) or min(found.size) < 1:
                yield f"picture({image}) of {split.name} gave a {type(found).__name__}"
                break
    if not seen:
        raise NotApplicable("the data set has features alone")


def fingerprint(case: DataCase[Any, Any]) -> Iterator[str]:
    """A fingerprint is text, the same whenever it is asked for, and another where the content is another."""
    found: dict[str, str] = {}
    for name in case.data.splits():
        value = case.data.fingerprint(name)
        if not isinstance(value, str) or not value:
            yield f"fingerprint({name!r}) gave {value!r}"
            return
        if case.data.fingerprint(name) != value:
            yield f"fingerprint({name!r}) gave another text when it was asked for again"
        for other, theirs in found.items():
            if theirs == value and (apart := _differing(case, other, name)):
                yield f"{other} and {name} have the same fingerprint {value} but other {', '.join(apart)}"
        found[name] = value


def _differing(case: DataCase[Any, Any], one: str, other: str) -> list[str]:
    return _apart(*(case.content(case.open(case.data, name)) for name in (one, other)))


def reopening(case: DataCase[Any, Any]) -> Iterator[str]:
    """Opened a second time, a data set has the same splits, content and fingerprints."""
    if case.again is None:
        raise NotApplicable("it was given open; give its class and options to have it opened twice")
    if case.again.splits() != case.data.splits():
        yield f"splits() gave {case.again.splits()} the second time, {case.data.splits()} the first"
        return
    for split, again in zip(case.opened(), case.opened(case.again), strict=True):
        if case.again.fingerprint(split.name) != case.data.fingerprint(split.name):
            yield f"{split.name} has another fingerprint the second time"
        for what in _apart(case.content(split), case.content(again)):
            yield f"{split.name} has other {what} the second time"


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between the content of two splits."""
    return [what for what in {**one, **other} if not _same(one.get(what), other.get(what))]


def _same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return list(one) == list(other)
