"""Images and captions as people give them: what is common to both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from robustcmr.data.array_features import ArrayFeatures
from robustcmr.data.prepared_features import PreparedFeatures, Scale
from robustcmr.errors import ArgumentError, DataError
from robustcmr.runs.inputs import Preparation
from robustcmr.types import ImageBatch, IntArray, TextBatch

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Items:
    """Some images or captions.

    Attributes:
        names: file names of images, or the captions.
        batch: reads rows (k,) as the matcher takes them.
        picture: loads an image by row, for display; None where there is no picture.
    """

    names: Sequence[str]
    batch: Callable[[IntArray], ImageBatch | TextBatch]
    picture: Callable[[int], Any] | None = None

    def __len__(self) -> int:
        return len(self.names)


Stream = Items | Iterator[Items]
"""Items that can be read again, or parts of a stream that is read once."""


def cut_in_parts(
    given: Iterable[Any], size: int, what: str, items: Callable[[list[Any], int], Items]
) -> Iterator[Items]:
    """Cut a stream into parts of ``size``; the first is read at once, so that mistakes show early.

    ``items`` gets the entries of a part and the number of the first.
    """
    stream = iter(given)
    first = list(islice(stream, size))
    if not first:
        raise ArgumentError(f"no {what} were given; give at least one")

    def parts() -> Iterator[Items]:
        part, start = first, 0
        while part:
            yield items(part, start)
            start += len(part)
            part = list(islice(stream, size))

    return parts()


def prepared_vectors(features: npt.NDArray[np.float32], how: Preparation | None) -> npt.NDArray[np.float32]:
    """Standardise and normalise vectors (k, 1, F) as the run's data set does."""
    if how is None:
        return features
    scale = Scale(np.array(how.mean), np.array(how.deviation)) if how.mean else None
    rows = np.arange(len(features), dtype=np.int64)
    return PreparedFeatures(ArrayFeatures(features[:, 0]), scale, how.normalise).take(rows)


def refuse_non_finite(features: Array, names: Sequence[str]) -> None:
    """Raise DataError if one of (k, ...) features is NaN or infinite; names are those of the k items."""
    finite = np.isfinite(features).all(axis=tuple(range(1, features.ndim)))
    if not finite.all():
        name = names[int(np.argmin(finite))]
        raise DataError(
            f"{name} has NaN or infinite numbers, or numbers too large for float32; repair or leave it out"
        )


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a file; False also for a name that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113  # Path.is_file raises for such a name


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder; False also for a name that no folder can have."""
    return os.path.isdir(path)  # noqa: PTH112


def is_array(given: Any) -> bool:
    """Return whether a value is an array of NumPy, torch or the like."""
    return hasattr(given, "__array__") and not isinstance(given, Image.Image)


def as_array(given: Any) -> Array:
    """Return an array of NumPy, from any device."""
    if isinstance(given, torch.Tensor):
        return given.detach().cpu().numpy()
    return np.asarray(given)


def kind_of(value: Any) -> str:
    """Name the kind of a value, for messages."""
    if value is None:
        return "None"
    if isinstance(value, bool | int | float):
        return f"{value} ({type(value).__name__})"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
