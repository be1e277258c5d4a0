"""Numbers of all pairs as ``.npy`` files, one a column: written in order as they come, read by slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from robustcmr.errors import DataError
from robustcmr.files import atomic_file

Column = npt.NDArray[Any]


def write_columns(
    folder: Path, kinds: Mapping[str, str], count: int, parts: Iterable[pa.RecordBatch]
) -> None:
    """Write columns of batches as ``NAME.npy`` each.

    Args:
        folder: created if missing.
        kinds: type by name, such as ``{"image_at": "<i8"}``.
        count: rows of all batches together.
        parts: with at least these columns, without nulls, in order.

    Raises:
        DataError: there are more or fewer rows.
    """
    written = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context(atomic_file(folder / f"{name}.npy")) for name in kinds}
        for name, file in files.items():
            header = {"descr": kinds[name], "fortran_order": False, "shape": (count,)}
            np.lib.format.write_array_header_1_0(file, header)
        for batch in parts:
            written += batch.num_rows
            for name, file in files.items():
                values = batch.column(name).to_numpy(zero_copy_only=False)
                file.write(np.ascontiguousarray(values, kinds[name]).tobytes())
        if written != count:
            raise DataError(
                f"{folder} would get {written:,} rows, expected {count:,}; begin the audit again with "
                "--restart"
            )


def has_columns(folder: Path, names: Iterable[str]) -> bool:
    """Whether all of these columns are written."""
    return all((folder / f"{name}.npy").is_file() for name in names)


def read_column(folder: Path, name: str, rows: slice) -> Column:
    """Return rows of a column in memory.

    Raises:
        DataError: the column is damaged.
    """
    path = folder / f"{name}.npy"
    try:
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False)[rows])
    except (OSError, ValueError) as error:
        raise DataError(
            f"the unfinished work {path} is damaged; begin the audit again with --restart"
        ) from error
