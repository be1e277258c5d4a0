"""Rules of a data set of image-text pairs alone: pairing, features, vectors and names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from robustcmr.testing.dataset_case import PairsCase
from robustcmr.testing.dataset_rules import misshapen, unequal
from robustcmr.testing.report import NotApplicable


def pairing(case: PairsCase) -> Iterator[str]:
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


def features(case: PairsCase) -> Iterator[str]:
    """Features are finite float32 of the shape announced, (n, R, F), of one width in all splits."""
    widths: dict[str, int | None] = {}
    for split in case.opened():
        if split.features is not None:
            widths[split.name] = split.features.shape[-1]
            yield from misshapen(f"features of {split.name}", split.features, case.some(split.n_images))
    if not widths:
        raise NotApplicable("the data set has pictures alone")
    yield from unequal("features", widths)


def text_vectors(case: PairsCase) -> Iterator[str]:
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
        yield from misshapen(f"text_vectors of {split.name}", store, case.some(len(split.captions)))
    if set(widths.values()) == {None}:
        raise NotApplicable("the captions have no vectors")
    yield from unequal("caption vectors", widths)


def image_names(case: PairsCase) -> Iterator[str]:
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


def fits(case: PairsCase) -> Iterator[str]:
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
