"""Rules about splits, captions, features, pictures and what tells two data sets apart."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from robustcmr.data.base import FeatureStore, PairsData, PairsSplit
from robustcmr.errors import DataError
from robustcmr.testing.report import NotApplicable
from robustcmr.types import IntArray

_UNKNOWN = "no-such-split"


@dataclass(frozen=True)
class DataCase:
    """A data set to look through.

    Attributes:
        data: open.
        again: the same, opened once more; None where it cannot be.
        sample: images and captions of a split to look at closely.
    """

    data: PairsData
    again: PairsData | None
    sample: int

    def opened(self) -> Iterator[PairsSplit]:
        """Every split."""
        for name in self.data.splits():
            yield self.data.split(name)

    def some(self, n: int) -> IntArray:
        """A few evenly spaced indices of 0..n-1."""
        chosen = np.unique(np.linspace(0, n - 1, min(self.sample, n)).round())
        return np.asarray(chosen, dtype=np.int64)

    def stores(self) -> Iterator[tuple[str, FeatureStore]]:
        """Features of every split, and vectors of captions, with what to call them."""
        for split in self.opened():
            if split.features is not None:
                yield f"features of {split.name}", split.features
            if split.text_vectors is not None:
                yield f"text_vectors of {split.name}", split.text_vectors


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
    for name in names:
        split = case.data.split(name)
        if not isinstance(split, PairsSplit):
            yield f"split({name!r}) gave a {type(split).__name__}, not a PairsSplit"
        elif split.name != name:
            yield f"split({name!r}) gave a split that calls itself {split.name!r}"
        elif split.n_images < 1:
            yield f"split({name!r}) has {split.n_images} images"


def unknown_split(case: DataCase) -> Iterator[str]:
    """A split that does not exist raises DataError."""
    tried: dict[str, Callable[[], object]] = {
        "split": lambda: case.data.split(_UNKNOWN),
        "fits": lambda: case.data.fits(_UNKNOWN, 0, np.zeros(1, dtype=np.int64)),
    }
    for name, call in tried.items():
        try:
            call()
        except DataError:
            continue
        except Exception as error:  # any other kind is what is to be reported
            yield f"{name}({_UNKNOWN!r}) raised {type(error).__name__}"
        else:
            yield f"{name}({_UNKNOWN!r}) raised nothing"


def captions(case: DataCase) -> Iterator[str]:
    """Every caption is text with at least one word."""
    for split in case.opened():
        if not len(split.captions):
            yield f"{split.name} has no caption"
        for row, caption in enumerate(split.captions):
            if not isinstance(caption, str) or not caption.strip():
                yield f"caption {row} of {split.name} is {caption!r}"
                break


def pairing(case: DataCase) -> Iterator[str]:
    """Every caption has an image of the split, int64, and every image at least one caption."""
    for split in case.opened():
        given, n, rows = split.image_of_caption, split.n_images, len(split.captions)
        if not isinstance(given, np.ndarray) or given.shape != (rows,) or given.dtype != np.int64:
            kind = getattr(given, "dtype", type(given).__name__)
            shape = getattr(given, "shape", "?")
            yield f"image_of_caption of {split.name} is {kind} of shape {shape} for {rows} captions"
        elif rows and (given.min() < 0 or given.max() >= n):
            yield f"image_of_caption of {split.name} runs over {given.min()}..{given.max()} for {n} images"
        elif len(np.unique(given)) < n:
            yield f"{n - len(np.unique(given))} of {n} images of {split.name} have no caption"


def features(case: DataCase) -> Iterator[str]:
    """Features are finite float32 of the shape announced, (n, R, F), of one width in all splits."""
    widths: dict[str, int] = {}
    for split in case.opened():
        if split.features is not None:
            widths[split.name] = split.features.shape[-1]
            yield from _misshapen(f"features of {split.name}", split.features, case.some(split.n_images))
    if not widths:
        raise NotApplicable("the data set has pictures alone")
    if len(set(widths.values())) > 1:
        yield f"the splits have features of different widths, {widths}"


def _misshapen(what: str, store: FeatureStore, chosen: IntArray) -> Iterator[str]:
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


def take(case: DataCase) -> Iterator[str]:
    """What take gives is in the order asked for, and repeats are given again."""
    for what, store in _required(case):
        chosen = case.some(store.shape[0])
        ordered = np.array(store.take(chosen))
        places = np.concatenate([np.arange(len(chosen))[::-1], [0, 0]])  # backwards, and the first thrice
        if not np.array_equal(store.take(chosen[places]), ordered[places], equal_nan=True):
            yield f"{what}: take of {chosen[places].tolist()} gave other entries than one after another"


def fresh_arrays(case: DataCase) -> Iterator[str]:
    """What take gives may be written to, as training does, and the data stays as it is."""
    for what, store in _required(case):
        chosen = case.some(store.shape[0])
        found = store.take(chosen)
        before = np.array(found)
        if not found.flags.writeable:
            yield f"{what}: take gave an array that cannot be written to"
            continue
        found[...] = found + 1.0
        if not np.array_equal(store.take(chosen), before, equal_nan=True):
            yield f"{what}: after writing into what take gave, take gave other numbers"


def pickling(case: DataCase) -> Iterator[str]:
    """Features can be pickled, as processes that load batches get them that way."""
    for what, store in _required(case):
        chosen = case.some(store.shape[0])
        copied: FeatureStore = pickle.loads(pickle.dumps(store))
        if not np.array_equal(copied.take(chosen), store.take(chosen), equal_nan=True):
            yield f"{what}: a pickled copy gave other numbers"


def _required(case: DataCase) -> Iterator[tuple[str, FeatureStore]]:
    found = list(case.stores())
    if not found:
        raise NotApplicable("the data set has pictures alone")
    yield from found


def text_vectors(case: DataCase) -> Iterator[str]:
    """Where captions have vectors, they have them in all splits: finite float32 (n_captions, 1, V), one V."""
    widths: dict[str, int | None] = {}
    for split in case.opened():
        store = split.text_vectors
        widths[split.name] = None if store is None else store.shape[-1]
        if store is None:
            continue
        if store.shape[:2] != (len(split.captions), 1):
            yield f"text_vectors of {split.name} announce {store.shape} for {len(split.captions)} captions"
            continue
        yield from _misshapen(f"text_vectors of {split.name}", store, case.some(len(split.captions)))
    if set(widths.values()) == {None}:
        raise NotApplicable("the captions have no vectors")
    if len(set(widths.values())) > 1:
        yield f"the splits have caption vectors of different widths, {widths}"


def pictures(case: DataCase) -> Iterator[str]:
    """Where there are pictures, picture(i) gives a PIL image of every image of the split."""
    seen = 0
    for split in case.opened():
        if split.picture is None:
            continue
        for image in case.some(split.n_images):
            seen += 1
            found = split.picture(int(image))
            if not isinstance(found, Image.Image) or min(found.size) < 1:
                yield f"picture({image}) of {split.name} gave a {type(found).__name__}"
                break
    if not seen:
        raise NotApplicable("the data set has features alone")


def image_names(case: DataCase) -> Iterator[str]:
    """Where images have names, there is one for each, and it is text."""
    named = 0
    for split in case.opened():
        names: Sequence[object] | None = split.image_names
        if names is None:
            continue
        named += 1
        if len(names) != split.n_images:
            yield f"{split.name} has {len(names)} image_names for {split.n_images} images"
        elif not all(isinstance(name, str) and name for name in names):
            yield f"{split.name} has an image name that is no text or empty"
    if not named:
        raise NotApplicable("the images have no names")


def fits(case: DataCase) -> Iterator[str]:
    """Asked which images a caption is true of, fits gives (k,) bool, True at the caption's own image."""
    for split in case.opened():
        for row in case.some(len(split.captions)):
            own = int(split.image_of_caption[row])
            images = np.concatenate([case.some(split.n_images), [own]])
            found = case.data.fits(split.name, int(row), images)
            if not isinstance(found, np.ndarray) or found.shape != images.shape or found.dtype != np.bool_:
                kind, shape = getattr(found, "dtype", type(found).__name__), getattr(found, "shape", "?")
                yield f"fits({split.name!r}, {row}) gave {kind} of shape {shape} for {len(images)} images"
                break
            if not found[images == own].all():
                yield f"fits({split.name!r}, {row}) says no to image {own}, which the caption was written for"
                break


def fingerprint(case: DataCase) -> Iterator[str]:
    """A fingerprint is text, the same whenever it is asked for, and another for each split."""
    found: dict[str, str] = {}
    for name in case.data.splits():
        value = case.data.fingerprint(name)
        if not isinstance(value, str) or not value:
            yield f"fingerprint({name!r}) gave {value!r}"
            return
        if case.data.fingerprint(name) != value:
            yield f"fingerprint({name!r}) gave another text when it was asked for again"
        for other, theirs in found.items():
            if theirs == value:
                yield f"{other} and {name} have the same fingerprint {value}"
        found[name] = value


def reopening(case: DataCase) -> Iterator[str]:
    """Opened a second time, a data set has the same splits, captions, pairing and fingerprints."""
    if case.again is None:
        raise NotApplicable("it was given open; give its class and options to have it opened twice")
    if case.again.splits() != case.data.splits():
        yield f"splits() gave {case.again.splits()} the second time, {case.data.splits()} the first"
        return
    for split in case.opened():
        again = case.again.split(split.name)
        if case.again.fingerprint(split.name) != case.data.fingerprint(split.name):
            yield f"{split.name} has another fingerprint"
        if list(again.captions) != list(split.captions):
            yield f"{split.name} has other captions"
        if not np.array_equal(again.image_of_caption, split.image_of_caption):
            yield f"{split.name} has another pairing"
