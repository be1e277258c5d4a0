"""Checks of arguments: each returns its value in the type the other modules use, or raises ``NoiseError``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class NoiseError(ValueError):
    """A setting or file is wrong; the message says in one sentence what was expected and what to do."""


Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
Features = Array | tuple[Array, Array]
"""Features (n, F) of the pairs, or a tuple of the images' and the texts', which may differ in width."""

PROTOCOLS: tuple[str, ...] = ("caption", "image")
"""Rules by which pairs are mismatched, see ``noise_injection.mismatch``."""

LABEL_KINDS: tuple[str, ...] = ("symmetric", "asymmetric", "instance")
"""Rules by which labels are made wrong, see ``noise_injection.labels``."""

CAPTIONS_PER_IMAGE = 5  # as in Flickr8K, Flickr30K and MS-COCO
MOST_CAPTIONS = 10**9
MOST_CLASSES = 10**6

BLOCK = 1024  # rows of features converted to float64 at once
LARGEST = 1e100  # features are squared and summed


def regular_truth(n_captions: int, captions_per_image: int = CAPTIONS_PER_IMAGE) -> IntArray:
    """Return the pairing (n_captions,) int64 with entry ``i`` equal to ``i // captions_per_image``.

    Example:
        >>> regular_truth(6, 3).tolist()
        [0, 0, 0, 1, 1, 1]
    """
    for count, what in ((captions_per_image, "captions per image"), (n_captions, "captions")):
        whole(count, f"number of {what}")
        if count > MOST_CAPTIONS:
            raise NoiseError(f"the number of {what} is {count}; expected at most {MOST_CAPTIONS}")
    if n_captions % captions_per_image:
        raise NoiseError(
            f"{n_captions} captions do not divide into images of {captions_per_image} captions each; "
            "check both numbers"
        )
    return np.arange(n_captions, dtype=np.int64) // captions_per_image


def indices(values: Array, limit: int | None, what: str, noun: str = "image indices") -> IntArray:
    """Return integers of any type and shape, at least 0 and below ``limit``, as int64 in native byte order.

    Without a limit the values need only fit int64. ``what`` and ``noun`` name array and values in errors.
    """
    if values.dtype.kind not in "iu":
        raise NoiseError(f"{what} has {values.dtype} values; expected {noun} (int64)")
    if values.size == 0:
        raise NoiseError(f"{what} is empty; expected {noun}")
    low, high = int(values.min()), int(values.max())
    if limit is None and high >= 2**63:
        raise NoiseError(f"{what} has an entry {high}, too large for int64; expected {noun}")
    if limit is not None and (low < 0 or high >= limit):
        raise NoiseError(f"{what} has entries from {low} to {high}; expected {noun} from 0 to {limit - 1}")
    return values.astype(np.int64, copy=False)


def vector(values: Array, limit: int | None, what: str, noun: str = "image indices") -> IntArray:
    """Return a vector of indices as int64, see ``indices``."""
    if values.ndim != 1:
        raise NoiseError(f"{what} has shape {values.shape}; expected a vector of {noun}")
    return indices(values, limit, what, noun)


def truth(values: Array, n_images: int) -> IntArray:
    """Return the true image of each caption row as int64; some images may have no caption."""
    most = most_images(np.size(values))
    if n_images > most:  # memory is taken for each
        raise NoiseError(
            f"the true pairing has {np.size(values)} captions of {n_images} images; expected at most {most} "
            "images, counted from 0 without large gaps"
        )
    return vector(np.asarray(values), n_images, "the true pairing")


def most_images(n_captions: int) -> int:
    """Return how many images ``n_captions`` captions may be of, most of them without a caption."""
    return max(10**7, 100 * n_captions)


def labels(values: Array, n_classes: int, what: str = "the label vector") -> IntArray:
    """Return (n,) class labels as int64."""
    return vector(np.asarray(values), n_classes, what, "classes")


def given(labels: Array, n_classes: int, what: str = "the given label array") -> IntArray:
    """Return given labels as int64: (n, 1) if image and text share them, else (n, 2), the images' first."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.shape[1] not in (1, 2):
        raise NoiseError(
            f"{what} has shape {labels.shape}; expected (n, 1) for shared labels or (n, 2) for image and "
            "text labels"
        )
    return indices(labels, n_classes, what, "classes")


def rows(given: IntArray, truth: Array, what: str = "the given label array") -> None:
    """Refuse given labels that are not as many as the true ones."""
    if len(given) != truth.size:
        raise NoiseError(
            f"{what} has {len(given)} rows and the data has {truth.size} labels; choose the labels made for "
            "this data"
        )


def percent_meant(value: object) -> str:
    """Return a question such as ``; did you mean 0.4?`` if a share was given in percent; else an empty text.

    Example:
        >>> percent_meant(40), percent_meant("2.5%"), percent_meant(1.5)
        ('; did you mean 0.4?', '; did you mean 0.025?', '')
    """
    text = str(value).strip()
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        return ""
    likely = text.endswith("%") or number >= 2
    return f"; did you mean {number / 100:g}?" if likely and 0 <= number < 100 else ""


def ratio(value: float) -> float:
    """Return the noise ratio as a float in [0, 1)."""
    number = not isinstance(value, bool) and isinstance(value, (int, float, np.integer, np.floating))
    if not number or not 0 <= value < 1:
        hint = "" if isinstance(value, bool) else percent_meant(value)
        raise NoiseError(
            f"the noise ratio is {value!r}; expected a number of at least 0 and below 1, such as 0.4{hint}"
        )
    return float(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def whole(value: object, what: str) -> int:
    """Return a count, a whole number of at least 1."""
    if not _is_whole(value) or value < 1:  # type: ignore[operator]
        raise NoiseError(f"the {what} is {value!r}; expected a whole number of at least 1")
    return int(value)  # type: ignore[call-overload, no-any-return]


def seed(value: int) -> int:
    """Return the seed as an int from 0 to 2**32 - 1, the range of NumPy's legacy generator."""
    if not _is_whole(value) or not 0 <= value < 2**32:
        raise NoiseError(f"the noise seed is {value!r}; expected a whole number from 0 to {2**32 - 1}")
    return int(value)


def choice(value: str, choices: Sequence[str], what: str) -> str:
    """Return a name that is one of ``choices``; the error suggests the nearest one."""
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise NoiseError(f"there is no {what} {value!r}{meant}; choose one of {', '.join(choices)}")
    return value


def suffix(path: str | Path, suffixes: Sequence[str], what: str) -> Path:
    """Return the path of a file to write, whose suffix says in which format."""
    path = Path(path)
    if path.suffix not in suffixes:
        raise NoiseError(
            f"{path} ends in {path.suffix or 'nothing'}; name {what} with suffix {' or '.join(suffixes)}"
        )
    return path


def classes(n_classes: int) -> int:
    """Return the number of classes, at least 2."""
    if not _is_whole(n_classes) or n_classes < 2:
        raise NoiseError(
            f"the number of classes is {n_classes!r}; expected a whole number of at least 2, since "
            "with a single class no label can be wrong"
        )
    if n_classes > MOST_CLASSES:  # memory is taken for each
        raise NoiseError(
            f"the number of classes is {n_classes}; expected at most {MOST_CLASSES}, counted from 0 without "
            "large gaps"
        )
    return int(n_classes)


def class_map(targets: Sequence[int] | Array, n_classes: int) -> IntArray:
    """Return (n_classes,) int64, the class that replaces each class; at least one must change."""
    values = np.asarray(targets)
    if values.shape != (n_classes,):
        raise NoiseError(
            f"the class map has shape {values.shape}; expected one target for each of the {n_classes} classes"
        )
    values = indices(values, n_classes, "the class map", "classes")
    if np.array_equal(values, np.arange(n_classes)):
        raise NoiseError("the class map maps every class to itself; map at least one to another class")
    return values


def features(arrays: Features, n: int, n_columns: int) -> list[Array]:
    """Return the features (n, F), in the type given, from which each column of labels is drawn."""
    parts = list(arrays) if isinstance(arrays, tuple) else [arrays] * n_columns
    if len(parts) != n_columns:
        raise NoiseError(
            f"there are {len(parts)} arrays of features and {n_columns} label(s) per row; give one array, or "
            "those of images and texts with labels per modality"
        )
    parts = [np.asarray(part) for part in parts]
    for part in parts:
        if part.ndim != 2 or part.shape[1] == 0 or len(part) != n:
            raise NoiseError(f"the features have shape {part.shape}; expected ({n}, F), one row per label")
        if part.dtype.kind not in "iuf":
            raise NoiseError(f"the features hold {part.dtype} values; expected real numbers")
        for start in range(0, n, BLOCK):
            good = (np.abs(part[start : start + BLOCK].astype(np.float64)) < LARGEST).all(axis=1)
            if not good.all():
                raise NoiseError(
                    f"row {start + int(good.argmin())} of the features has a number that is not finite or "
                    f"beyond {LARGEST:g}; repair the row or leave it out"
                )
    return parts
