"""Rules for data sets of image-text pairs: pairing, features, vectors and names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from robustcmr.testing.dataset_case import DataCase, misshapen, unequal
from robustcmr.testing.report import NotApplicable, array_of


def pairing(case: DataCase) -> Iterator[str]:
    """Every caption has an image of the split, int64, and every image at least one caption."""
    for split in case.splits:
        given, n, rows = split.image_of_caption, split.n_images, len(split.captions)
        if not isinstance(given, np.ndarray) or given.shape != (rows,) or given.dtype != np.int64:
            yield f"image_of_caption of {split.name} is {array_of(given)} for {rows} captions"
        elif rows and (given.min() < 0 or given.max() >= n):
            yield f"image_of_caption of {split.name} contains {given.min()}..{given.max()} for {n} images"
        elif len(np.unique(given)) < n:
            yield f"{n - len(np.unique(given))} of {n} images of {split.name} have no caption"


def features(case: DataCase) -> Iterator[str]:
    """Features are finite float32 of the announced shape, (n, R, F), of one width in all splits."""
    with_features = case.splits_with("features", "the data set has only pictures")
    for split in with_features:
        yield from misshapen(f"features of {split.name}", split.features, case.some(split.n_images))
    yield from unequal("features", {split.name: split.features.shape[-1] for split in with_features})


def text_vectors(case: DataCase) -> Iterator[str]:
    """Captions have vectors in all splits or in none: finite float32 (n_captions, 1, V), of one width V."""
    widths: dict[str, int | None] = {}
    for split in case.splits:
        store, n = split.text_vectors, len(split.captions)
        widths[split.name] = None if store is None else store.shape[-1]
        if store is not None and store.shape[:2] != (n, 1):
            yield f"text_vectors of {split.name} announce {store.shape} for {n} captions"
        elif store is not None:
            yield from misshapen(f"text_vectors of {split.name}", store, case.some(n))
    if set(widths.values()) == {None}:
        raise NotApplicable("the captions have no vectors")
    yield from unequal("caption vectors", widths)


def image_names(case: DataCase) -> Iterator[str]:
    """If images have names, there is one for each, and it is text."""
    for split in case.splits_with("image_names", "the images have no names"):
        if len(split.image_names) != split.n_images:
            yield f"{split.name} has {len(split.image_names)} image_names for {split.n_images} images"
        elif not all(isinstance(name, str) and name for name in split.image_names):
            yield f"{split.name} has an image name that is empty or not text"


def fits(case: DataCase) -> Iterator[str]:
    """The method fits says which images a caption is true of, (k,) bool; True for the caption's own image."""
    data: Any = case.data
    for split in case.splits:
        for row in case.some(len(split.captions)):
            own = int(split.image_of_caption[row])
            images = np.concatenate([case.some(split.n_images), [own]])
            found = data.fits(split.name, int(row), images)
            if not isinstance(found, np.ndarray) or found.shape != images.shape or found.dtype != np.bool_:
                yield f"fits({split.name!r}, {row}) gave {array_of(found)} for {len(images)} images"
                break
            if not found[images == own].all():
                yield f"fits({split.name!r}, {row}) is False for image {own}, which the caption belongs to"
                break
