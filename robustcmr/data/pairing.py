"""Which image each caption of a folder belongs to, by identifiers or by position."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

import numpy as np

from robustcmr.data.fingerprint import Digests, row_digests
from robustcmr.data.store import NpyFeatures
from robustcmr.errors import DataError
from robustcmr.types import IntArray

_NUMBERED = re.compile(r"(.+)#\d+")  # a caption of a picture, as in Flickr's files: 1000268201.jpg#0


@dataclass(frozen=True)
class Files:
    """Files of a split: features of the images, captions, and identifiers, which may be those of captions."""

    features: Path
    captions: Path
    ids: Path


@dataclass(frozen=True)
class Pairing:
    """The pairing of a split.

    Attributes:
        features: one entry an image.
        image_of_caption: (n_captions,) int64.
        names: one an image; None if unknown.
        regular: whether caption i belongs to image i // captions_per_image.
        source: what says so, a sentence for the data check.
    """

    features: NpyFeatures
    image_of_caption: IntArray
    names: list[str] | None
    regular: bool
    source: str


def pair_captions(
    files: Files, features: NpyFeatures, n_captions: int, each: int, ids: Sequence[str] | None
) -> Pairing:
    """Pair captions with images: by identifiers that repeat, otherwise ``each`` captions an image in order.

    Identifiers are those of the n_captions captions, of the images, or of the rows of ``features``; None if
    there are none. Captions of one identifier belong to one image. With a feature row a caption, all rows of
    an image must be equal, and the first is read. With a row an image, the identifiers give the order of the
    rows if the first captions of all images, the second ones and so on name them in one order. Identifiers
    such as ``x.jpg#0`` to ``x.jpg#4`` name an image before the ``#``.

    Raises:
        DataError: the counts do not fit, rows of an image differ, or the order of the rows is unknown.
    """
    if ids is None:
        return _by_position(files, features, n_captions, each, ids)
    n_rows, per_caption = features.shape[0], len(ids) == n_captions
    numbers, names = _by_name(ids)
    if per_caption and len(names) == n_captions and each > 1:
        parts = [found[1] for found in map(_NUMBERED.fullmatch, ids) if found is not None]
        if len(parts) == n_captions:
            numbers, names = _by_name(parts)
    if len(names) == len(ids):  # nothing says which captions share an image
        return _by_position(files, features, n_captions, each, ids)
    if not per_caption and n_rows == n_captions:  # an identifier an image, a row a caption
        numbers = np.repeat(numbers, each)
    if n_rows == len(numbers) and n_captions in (n_rows, n_rows * each):
        paired, first = numbers[np.arange(n_captions) // (n_captions // n_rows)], _first_rows(numbers)
        _refuse_differing(files, row_digests(features), numbers, first, names)
        features = NpyFeatures(features.path, first)
    elif per_caption and n_rows == len(names):
        _refuse_unknown_order(files, numbers, names)
        paired = numbers
    elif not per_caption:
        raise DataError(_wrong_counts(files, n_rows, n_captions, each))
    else:
        raise DataError(
            f"the number of different identifiers in {files.ids} is {len(names)}, but {files.features} has "
            f"{n_rows} rows for {n_captions} captions; expected a row for each identifier or for each caption"
        )
    regular = np.array_equal(paired, np.arange(n_captions) // each)
    source = f"by the identifiers of {files.ids.name}" + (f", {each} in a row" if regular else "")
    return Pairing(features, paired, names, regular, source)


def check_count(files: Files, ids: Sequence[str], n_captions: int, each: int, n_rows: int | None) -> None:
    """Raise a :class:`DataError` unless there is an identifier an image, a feature row or a caption."""
    if len(ids) not in (n_captions, n_captions / each, n_rows):
        raise DataError(
            f"{files.ids} has {len(ids)} identifiers for {n_captions} captions; expected one a caption, or "
            "one an image"
        )


def _by_name(ids: Sequence[str]) -> tuple[IntArray, list[str]]:
    """Number identifiers by first appearance, (n,) int64, and return the different ones as first written."""
    place: dict[str, int] = {}
    names, numbers = list[str](), np.empty(len(ids), np.int64)
    for row, name in enumerate(ids):
        number = numbers[row] = place.setdefault(normalize("NFC", name), len(names))
        if number == len(names):
            names.append(name)
    return numbers, names


def _first_rows(numbers: IntArray) -> IntArray:
    return np.unique(numbers, return_index=True)[1].astype(np.int64)


def _by_position(
    files: Files, features: NpyFeatures, n_captions: int, each: int, ids: Sequence[str] | None
) -> Pairing:
    n_rows = features.shape[0]
    numbers = np.arange(n_captions, dtype=np.int64) // each
    if n_captions % each or n_rows not in (n_captions, n_captions // each):
        raise DataError(_wrong_counts(files, n_rows, n_captions, each))
    if n_rows == n_captions and each > 1:
        first = _first_rows(numbers)
        _refuse_differing(files, row_digests(features), numbers, first, None)
        features = NpyFeatures(features.path, first)
    names = list(ids) if ids is not None and len(ids) * each == n_captions else None
    source = "by position" if each == 1 else f"by position, {each} consecutive captions an image"
    if ids is None:
        source += f"; there is no {files.ids.name} to confirm it"
    elif names is None:
        source += f"; {files.ids.name} has a different identifier for each caption, which cannot confirm it"
    return Pairing(features, numbers, names, True, source)


def _wrong_counts(files: Files, n_rows: int, n_captions: int, each: int) -> str:
    found = f"{files.features} has {n_rows} rows and {files.captions} has {n_captions} captions"
    if n_captions % n_rows == 0 and n_captions != n_rows:
        return (
            f"{found}, {n_captions // n_rows} each, but data.captions_per_image is {each}; set it, as by "
            f"--set data.captions_per_image={n_captions // n_rows}"
        )
    wanted = [n_rows * each] + ([n_rows] if n_rows % each == 0 else [])
    nearest = min(wanted, key=lambda count: abs(count - n_captions))
    lines, state = abs(nearest - n_captions), "missing" if nearest > n_captions else "too many"
    return (
        f"{found}; with {each} an image, {' or '.join(map(str, wanted))} captions were expected, so "
        f"{lines} {'line is' if lines == 1 else 'lines are'} {state}; copy both files again from one source"
    )


def _refuse_differing(
    files: Files, digests: Digests, numbers: IntArray, first: IntArray, names: Sequence[str] | None
) -> None:
    """Raise a :class:`DataError` if two rows of an image differ; ``numbers`` (n_rows,) are their images."""
    wrong = np.flatnonzero((digests != digests[first[numbers]]).any(axis=1))
    if not wrong.size:
        return
    row = int(wrong[0])
    rows = f"rows {first[numbers[row]]} and {row}"
    if names is not None:
        remove = "" if files.ids == files.captions else f", or remove {files.ids.name} to pair by position"
        raise DataError(
            f"{rows} of {files.features} differ, but {files.ids} names both {names[numbers[row]]!r}; give "
            f"different images different identifiers{remove}"
        )
    _, copies = np.unique(digests, axis=0, return_counts=True)
    changes = np.flatnonzero((digests[1:] != digests[:-1]).any(axis=1)) + 1
    run = int(changes[0]) if changes.size else len(digests)
    if copies.max() == 1:
        advice = "no two rows are equal, so set data.captions_per_image=1"
    elif run > 1 and np.array_equal(changes, np.arange(run, len(digests), run)):
        advice = f"equal rows come in runs of {run}, so set data.captions_per_image={run}"
    elif copies.min() > 1:
        advice = f"equal rows do not follow each other, so say in {files.ids.name} which are one image"
    else:
        advice = "some rows have no copy, so extract the features again"
    raise DataError(
        f"{files.features} has a row a caption, but {rows}, which should be one image, differ; {advice}"
    )


def _refuse_unknown_order(files: Files, numbers: IntArray, names: Sequence[str]) -> None:
    """Raise a :class:`DataError` unless the k-th captions of all images come in one order for every k.

    Identifiers that may as well be row numbers, in another order, are refused too.
    """
    row_numbers = [str(row) for row in range(len(names))], [str(row + 1) for row in range(len(names))]
    if list(names) not in row_numbers and any(set(names) == set(rows) for rows in row_numbers):
        raise DataError(
            f"{files.ids} has numbers that may be names or rows of {files.features}, and first names "
            f"{names[0]!r}; write names that are no row numbers, or store a feature row for each caption"
        )
    order = np.argsort(numbers, kind="stable")  # the captions of image 0, of image 1, ...
    counts = np.bincount(numbers)
    turn = np.empty_like(numbers)  # (n_captions,) which of the image's captions it is
    turn[order] = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts)
    by_turn = np.lexsort((np.arange(len(numbers)), turn))
    wrong = np.flatnonzero((np.diff(turn[by_turn]) == 0) & (np.diff(numbers[by_turn]) < 0))
    if wrong.size:
        row = int(by_turn[wrong[0] + 1])
        raise DataError(
            f"{files.ids} does not list the images in one order, {names[numbers[row]]!r} on line {row + 1} "
            f"is out of turn, so it is unknown which row of {files.features} is which image; sort the "
            "captions by image, or store a feature row for each caption"
        )
