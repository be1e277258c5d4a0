"""Rules of a data set of labelled pairs alone: classes, labels and vectors.

That a split has as many images as texts and labels, and no label without a class, is kept by
:class:`robustcmr.data.base.LabelledSplit` itself; one that it refuses breaks the rule of splits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robustcmr.testing.dataset_case import LabelledCase
from robustcmr.testing.dataset_rules import misshapen, unequal
from robustcmr.testing.report import some_of


def classes(case: LabelledCase) -> Iterator[str]:
    """Classes have different, non-empty names, the same in all splits, and each occurs in train."""
    names: object = None
    for split in case.opened():
        given: object = split.class_names
        if not isinstance(given, tuple) or not all(isinstance(name, str) and name.strip() for name in given):
            yield f"class_names of {split.name} are {given!r}, not a tuple of texts that are not empty"
            continue
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            yield f"class_names of {split.name} name {some_of(twice)} more than once"
        names = given if names is None else names
        if given != names:
            yield f"class_names of {split.name} are others than those of train"
    train = case.data.split("train")
    missing = sorted(set(range(len(train.class_names))) - set(np.unique(train.labels).tolist()))
    if missing:
        yield f"no pair of train is of class {some_of([str(number) for number in missing])}"


def labels(case: LabelledCase) -> Iterator[str]:
    """The class of each pair is a number of one array, (n,) int64."""
    for split in case.opened():
        given: object = split.labels
        if not isinstance(given, np.ndarray) or given.shape != (len(split),) or given.dtype != np.int64:
            kind, shape = getattr(given, "dtype", type(given).__name__), getattr(given, "shape", "?")
            yield f"labels of {split.name} are {kind} of shape {shape} for {len(split)} pairs"


def vectors(case: LabelledCase) -> Iterator[str]:
    """Images and texts are finite float32 of the shape announced, (n, 1, F), of one width in all splits."""
    widths: dict[str, dict[str, int | None]] = {}
    for split in case.opened():
        for what, store in case.stores_of(split).items():
            widths.setdefault(what, {})[split.name] = store.shape[-1]
            if len(store.shape) == 3 and store.shape[1] != 1:
                yield f"{what} of {split.name} announce {store.shape}, which is not one vector an entry"
            else:
                yield from misshapen(f"{what} of {split.name}", store, case.some(len(split)))
    for what, of_splits in widths.items():
        yield from unequal(what, of_splits)
