"""Rules for labelled data sets: classes, labels and vectors.

:class:`robustcmr.data.base.LabelledSplit` itself ensures as many images as texts and labels, and a class for
each label; a split that it refuses breaks the rule ``splits``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robustcmr.errors import some_of
from robustcmr.testing.dataset_case import DataCase, misshapen, stores_of, unequal
from robustcmr.testing.report import array_of


def classes(case: DataCase) -> Iterator[str]:
    """Classes have different, non-empty names, the same in all splits, and each occurs in train."""
    names: object = None
    for split in case.splits:
        given: object = split.class_names
        if not isinstance(given, tuple) or not all(isinstance(name, str) and name.strip() for name in given):
            yield f"class_names of {split.name} are {given!r}, not a tuple of non-empty texts"
            continue
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            yield f"class_names of {split.name} name {some_of(twice, 5)} more than once"
        names = given if names is None else names
        if given != names:
            yield f"class_names of {split.name} differ from those of train"
    train = case.splits[0]
    missing = sorted(set(range(len(train.class_names))) - set(np.unique(train.labels).tolist()))
    if missing:
        yield f"no pair of train is of class {some_of([str(number) for number in missing], 5)}"


def labels(case: DataCase) -> Iterator[str]:
    """The classes of the pairs are one array of numbers, (n,) int64."""
    for split in case.splits:
        given: object = split.labels
        if not isinstance(given, np.ndarray) or given.shape != (len(split),) or given.dtype != np.int64:
            yield f"labels of {split.name} are {array_of(given)} for {len(split)} pairs"


def vectors(case: DataCase) -> Iterator[str]:
    """Images and texts are finite float32 of the announced shape, (n, 1, F), of one width in all splits."""
    widths: dict[str, dict[str, int | None]] = {}
    for split in case.splits:
        for what, store in stores_of(split).items():
            widths.setdefault(what, {})[split.name] = store.shape[-1]
            if len(store.shape) == 3 and store.shape[1] != 1:
                yield f"{what} of {split.name} announce {store.shape}, which is not one vector an entry"
            else:
                yield from misshapen(f"{what} of {split.name}", store, case.some(len(split)))
    for what, of_splits in widths.items():
        yield from unequal(what, of_splits)
