"""Outcome of each query of a split: ranks of the right answers, or average precisions."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.errors import RunFolderError
from robustcmr.files import write_with


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
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{path} is missing, which has the outcome of each query; train the run again to write it"
        ) from error
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise RunFolderError(f"{path} is damaged; copy it again, or train the run again") from error
