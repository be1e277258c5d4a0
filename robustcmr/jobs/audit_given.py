"""Pairs and vectors as people give them to ``robustcmr.audit_pairs``: paths, tables and arrays.

What is in memory is written below the folder of the audit, so that the audit can resume, be reported and
applied like any other.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.errors import ArgumentError
from robustcmr.files import write_with

logger = logging.getLogger("robustcmr")

FOLDER = "given"
"""Folder below the audit's for what was in memory."""

SIDES = ("image", "text")
_EXPECTED = "paths, a pandas.DataFrame, a pyarrow.Table, or columns by name"


def given_source(source: Any, output: Path) -> list[str]:
    """Return the paths of a source; write it as ``given/pairs.parquet`` where it is a table in memory.

    Raises:
        ArgumentError: it is nothing that holds pairs.
        UserError: it cannot be written.
    """
    if isinstance(source, str | os.PathLike):
        return [_text(source)]
    table = _table(source)
    if table is not None:
        return [_kept(output / FOLDER / "pairs.parquet", _parquet(table), f"{table.num_rows:,} pairs")]
    if (
        isinstance(source, Sequence)
        and source
        and all(isinstance(each, str | os.PathLike) for each in source)
    ):
        return [_text(each) for each in source]
    raise ArgumentError(f"the source is {_kind(source)}, expected {_EXPECTED}")


def given_vectors(vectors: Any, output: Path) -> tuple[str | None, str | None]:
    """Return where the vectors of images and captions are; write arrays as ``given/*_vectors.npy``.

    Args:
        vectors: one place for both sides, or an image side and a text side as a pair or by name; each a path,
            a column, or an array (n, D); None for the vectors that come with the source.
        output: folder of the audit.

    Raises:
        ArgumentError: they are nothing of that kind.
        UserError: they cannot be written.
    """
    if vectors is None:
        return None, None
    if isinstance(vectors, str | os.PathLike):
        return _text(vectors), _text(vectors)
    if isinstance(vectors, Mapping):
        if unknown := [name for name in vectors if name not in SIDES]:
            raise ArgumentError(f"vectors have the name {unknown[0]!r}, expected 'image' and 'text'")
        sides = [vectors.get(side) for side in SIDES]
    elif isinstance(vectors, tuple | list) and len(vectors) == 2:
        sides = list(vectors)
    else:
        raise ArgumentError(
            f"vectors are {_kind(vectors)}, expected a path, a pair of image and text vectors, or "
            "{'image': ..., 'text': ...}"
        )
    image, text = (
        None if given is None else _side(given, side, output)
        for given, side in zip(sides, SIDES, strict=True)
    )
    return image, text


def _side(given: Any, side: str, output: Path) -> str:
    if isinstance(given, str | os.PathLike):
        return _text(given)
    array = _array(given)
    if array is None or array.ndim != 2 or array.dtype.kind not in "fiu" or 0 in array.shape:
        found = _kind(given) if array is None else f"an array {array.shape} of {array.dtype}"
        raise ArgumentError(f"the {side} vectors are {found}, expected a path or an array (n, D) of numbers")
    buffer = io.BytesIO()
    kept = array if array.dtype in (np.float16, np.float32, np.float64) else array.astype(np.float32)
    np.save(buffer, kept, allow_pickle=False)
    what = f"{len(array):,} {side} vectors"
    return _kept(output / FOLDER / f"{side}_vectors.npy", buffer.getvalue(), what)


def _table(source: Any) -> pa.Table | None:
    """The table of a source in memory; None where it is something else."""
    if isinstance(source, pa.Table):
        return source
    if hasattr(source, "columns") and hasattr(source, "itertuples"):  # of pandas, which need not be installed
        return _checked(lambda: pa.Table.from_pandas(source, preserve_index=False))
    if isinstance(source, Mapping):
        if not source or not all(isinstance(name, str) for name in source):
            raise ArgumentError("the source has no columns by name; expected {'image': ..., 'caption': ...}")
        return _checked(lambda: pa.table({name: _column(values) for name, values in source.items()}))
    return None


def _checked(make: Any) -> pa.Table:
    try:
        table: pa.Table = make()
    except (pa.ArrowException, TypeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise ArgumentError(
            f"the source is no table of pairs: {why}; give columns of equal length"
        ) from error
    return table


def _column(values: Any) -> Any:
    """A column; vectors (n, D) as lists of one length."""
    array = values if isinstance(values, np.ndarray) else None
    if array is not None and array.ndim == 2:
        flat = pa.array(np.ascontiguousarray(array).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
    return pa.array(values)


def _array(given: Any) -> npt.NDArray[Any] | None:
    if hasattr(given, "detach"):  # a tensor
        given = given.detach().cpu()
    if not hasattr(given, "__array__"):
        return None
    return np.asarray(given)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _kept(path: Path, data: bytes, what: str) -> str:
    """Write bytes unless the file holds them already, so that an audit of the same data resumes."""
    if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_with(path, lambda file: file.write(data))
        logger.info("wrote the %s to %s", what, path)
    return str(path)


def _text(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if not text:
        raise ArgumentError(f"the source is {text!r}, expected {_EXPECTED}")
    return str(Path(text).expanduser()) if text.startswith("~") else text


def _kind(value: Any) -> str:
    return "an empty list" if isinstance(value, list | tuple) and not value else type(value).__name__
