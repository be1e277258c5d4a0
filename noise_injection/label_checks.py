"""Checks of what the caller gives for label noise, shared by the modules on labels."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from noise_injection.checks import IntArray
from noise_injection.errors import NoiseError

LABEL_KINDS: tuple[str, ...] = ("symmetric", "asymmetric", "instance")
"""Names of the rules by which labels can be made wrong."""

MODALITIES: tuple[str, ...] = ("image", "text")
"""What the two columns of labels drawn for each modality belong to."""

Features = npt.NDArray[Any] | tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""(n, F) features, or those of the images and those of the texts."""

BLOCK = 1024  # rows turned into float64 at once
LARGEST = 1e100  # features are squared and summed


def check_kind(kind: str) -> str:
    """Return the name of a kind of label noise.

    Raises:
        NoiseError: there is no such kind; the nearest known one is named.
    """
    if kind not in LABEL_KINDS:
        near = difflib.get_close_matches(str(kind), LABEL_KINDS, n=1, cutoff=0.5)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise NoiseError(f"there is no label noise {kind!r}{meant}; choose one of {', '.join(LABEL_KINDS)}")
    return kind


def check_classes(n_classes: int) -> int:
    """Return the number of classes.

    Raises:
        NoiseError: it is no whole number, or below 2, where no label can be wrong.
    """
    if isinstance(n_classes, bool) or not isinstance(n_classes, (int, np.integer)) or n_classes < 1:
        raise NoiseError(f"the number of classes is {n_classes!r}; expected a whole number of at least 2")
    if n_classes == 1:
        raise NoiseError("there is one class only, so that no label can be wrong; give at least 2 classes")
    return int(n_classes)


def check_labels(values: npt.NDArray[Any], n_classes: int, what: str = "the true labels") -> IntArray:
    """Return class labels as int64.

    Args:
        values: (n,) whole numbers from 0 to ``n_classes - 1``.
        n_classes: number of classes.
        what: what the array is, to begin error messages with.

    Raises:
        NoiseError: the array is no vector, is empty, holds no whole numbers, or one that no class has.
    """
    values = np.asarray(values)
    if values.ndim != 1:
        raise NoiseError(f"{what} have shape {values.shape}; expected a vector with one class a row")
    return check_label_values(values, n_classes, what)


def check_given(values: npt.NDArray[Any], n_classes: int, what: str = "the given labels") -> IntArray:
    """Return given labels as int64 in columns.

    Args:
        values: (n, 1) labels shared by image and text, or (n, 2), the images' and the texts'.
        n_classes: number of classes.
        what: what the array is, to begin error messages with.

    Raises:
        NoiseError: the shape is another, the array is empty, holds no whole numbers, or one that no class
            has.
    """
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] not in (1, 2):
        raise NoiseError(
            f"{what} have shape {values.shape}; expected (n, 1) for shared labels or (n, 2) for the images' "
            "and the texts'"
        )
    return check_label_values(values, n_classes, what)


def check_label_values(values: npt.NDArray[Any], n_classes: int, what: str) -> IntArray:
    """Return labels of any shape as int64, refused where no class has them, see ``check_labels``."""
    if values.dtype.kind not in "iu":
        raise NoiseError(f"{what} hold {values.dtype} values; expected whole numbers (int64)")
    if values.size == 0:
        raise NoiseError(f"{what} are empty; expected one class a row")
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= n_classes:
        raise NoiseError(f"{what} go from {low} to {high}; expected classes from 0 to {n_classes - 1}")
    return values.astype(np.int64, copy=False)


def check_class_map(class_map: Sequence[int] | npt.NDArray[Any], n_classes: int) -> IntArray:
    """Return a map of classes as int64; a class may be its own target and then stays right.

    Args:
        class_map: (n_classes,) whole numbers, the class that labels of each class are turned into.
        n_classes: number of classes.

    Raises:
        NoiseError: the map leaves classes out, names one there is not, or turns no class into another.
    """
    values = np.asarray(class_map)
    if values.shape != (n_classes,):
        raise NoiseError(
            f"the class map has shape {values.shape}; expected one target for each of the {n_classes} classes"
        )
    values = check_label_values(values, n_classes, "the targets of the class map")
    if np.array_equal(values, np.arange(n_classes)):
        raise NoiseError("the class map turns every class into itself; give at least one class another")
    return values


def check_features(features: Features, n: int, n_columns: int) -> list[npt.NDArray[Any]]:
    """Return the features each column of labels depends on.

    Args:
        features: (n, F) finite numbers for all columns or, for two columns, a tuple of the images' and the
            texts', whose widths may differ.
        n: number of rows.
        n_columns: 1 for shared labels, 2 for labels by modality.

    Returns:
        ``n_columns`` arrays of n rows each, in the type given.

    Raises:
        NoiseError: the shape or type is wrong, a number is not finite, or two arrays are given for shared
            labels.
    """
    parts = list(features) if isinstance(features, tuple) else [features] * n_columns
    if len(parts) != n_columns:
        raise NoiseError(
            f"there are {len(parts)} arrays of features and {n_columns} label(s) a row; give one array, or "
            "the images' and the texts' where labels are drawn per modality"
        )
    return [_check_one(np.asarray(part), n) for part in parts]


def features_sha256(parts: Sequence[npt.NDArray[Any]]) -> str:
    """The name of the features a noise was made from: SHA-256 of shapes and little-endian float64 bytes.

    Args:
        parts: arrays (n, F), one a column of labels.

    Returns:
        64 hexadecimal digits, the same for equal numbers of any type.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part.shape[0]} {part.shape[1]} ".encode())
        for start in range(0, len(part), BLOCK):
            digest.update(part[start : start + BLOCK].astype("<f8").tobytes())
    return digest.hexdigest()


def _check_one(part: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    if part.ndim != 2 or part.shape[1] == 0:
        raise NoiseError(f"the features have shape {part.shape}; expected ({n}, F), one row a label")
    if len(part) != n:
        raise NoiseError(f"there are {len(part)} rows of features and {n} labels; expected one row a label")
    if part.dtype.kind not in "iuf":
        raise NoiseError(f"the features hold {part.dtype} values; expected real numbers")
    for start in range(0, n, BLOCK):
        good = (np.abs(part[start : start + BLOCK].astype(np.float64)) < LARGEST).all(axis=1)
        if not good.all():
            raise NoiseError(
                f"the features have a number in row {start + int(good.argmin())} that is not finite, or "
                f"beyond {LARGEST:g}; leave such rows out or repair them"
            )
    return part
