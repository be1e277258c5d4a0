"""Outcome of each query of a split: ranks of the right answers, or average precisions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noise_injection.reading import load_arrays
from robustcmr.errors import RunFolderError
from robustcmr.files import regular_file, write_with


def write_queries(path: Path, queries: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write the outcomes of a split's queries atomically.

    Args:
        path: see :meth:`robustcmr.runs.folder.RunFolder.queries`.
        queries: on the pairs track ``i2t_rank`` (n_images,) and ``t2i_rank`` (n_captions,) int64, from 1,
            and ``t2i_image`` (n_captions,) int64, the image of each caption; on the labels track ``i2t_ap``
            and ``t2i_ap`` (n_pairs,) float64 in percent, NaN for queries left out.

    Raises:
        UserError: the file cannot be written.
    """
    arrays: dict[str, Any] = dict(queries)
    write_with(path, lambda file: np.savez_compressed(file, **arrays))


def read_queries(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read what :func:`write_queries` wrote.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    try:
        with regular_file(path) as file:
            stored = load_arrays(file)
            if isinstance(stored, np.ndarray):
                raise ValueError("it is a single array")
            return _checked({name: stored[name] for name in stored.files})
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{path} is missing, which has the outcome of each query; train the run again to write it"
        ) from error
    except Exception as error:  # a damaged archive can make its reader raise nearly anything
        raise RunFolderError(f"{path} is damaged; copy it again, or train the run again") from error


def _checked(queries: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays if they are those of a track; raise ValueError otherwise."""
    if any(array.ndim != 1 or not array.size for array in queries.values()):
        raise ValueError("expected vectors of at least one query")
    if queries.keys() == {"i2t_ap", "t2i_ap"} and all(array.dtype.kind == "f" for array in queries.values()):
        return queries
    if queries.keys() == {"i2t_rank", "t2i_rank", "t2i_image"}:
        ranks, image = (queries["i2t_rank"], queries["t2i_rank"]), queries["t2i_image"]
        whole = all(array.dtype.kind == "i" for array in queries.values())
        if whole and len(ranks[1]) == len(image) and image.min() >= 0 and image.max() < len(ranks[0]):
            return queries
    raise ValueError("expected ranks, or average precisions")
