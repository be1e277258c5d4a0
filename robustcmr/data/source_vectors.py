"""Vectors of somebody's own pairs as features that a run trains on: read where they lie, or copied once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from robustcmr.data.base import FeatureStore
from robustcmr.data.cache import cache_root
from robustcmr.data.source_rows import SourceRows, single
from robustcmr.data.store import NpyFeatures, checked_indices
from robustcmr.errors import DataError
from robustcmr.files import write_with
from robustcmr.sources.fingerprint import fingerprint
from robustcmr.sources.given_vectors import Vectors, unusable
from robustcmr.sources.records import Source
from robustcmr.sources.vector_rows import FileRows
from robustcmr.types import FloatArray, IntArray

logger = logging.getLogger("robustcmr")

_BLOCK_BYTES = 32 * 2**20

Pairs = Callable[[], Iterator[pa.RecordBatch]]
"""Reads all pairs of a source, whatever the condition, as batches of the schema ``PAIRS``."""


class SourceVectors:
    """One vector an item, from rows of files that stay on disk.

    Args:
        rows: of the files, mapped into memory where they are read.
        at: (n,) the row of each item.

    Attributes:
        dtype: of the numbers in the files.
    """

    def __init__(self, rows: FileRows, at: IntArray) -> None:
        self._rows = rows
        self._at = at
        kinds = [place.part.dtype for place in rows.places if place.part is not None]
        self.dtype: np.dtype[Any] = np.result_type(*kinds)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, 1, D)."""
        return len(self._at), 1, self._rows.width

    def take(self, images: IntArray) -> FloatArray:
        """Read vectors (k,) as (k, 1, D) float32, in the requested order; repeats allowed."""
        return self._rows.take(self._at[checked_indices(images, len(self._at))])[:, None, :]


def positions(vectors: Vectors, rows: SourceRows, every: Pairs | None) -> IntArray:
    """Return the vector of each pair (n,), -1 where it has none.

    Args:
        vectors: of one side.
        rows: the pairs.
        every: where a condition left some of the source's pairs out of ``rows``.
    """
    table = rows.table
    if vectors.by == "row":
        return vectors.at_rows(rows.numbers("shard"), rows.numbers("row"))
    if (keys := vectors.keys()) is not None:
        return _by_key(keys, table[vectors.by])
    if every is None:
        order, images = np.arange(len(table)), table["image"]
    else:
        order, images = _among_all(rows, every)
    if vectors.by == "position":
        return order
    encoded = pc.dictionary_encode(single(images.cast(pa.large_string())))
    numbers: IntArray = np.asarray(encoded.indices.fill_null(-1)).astype(np.int64)
    return numbers[order]


def _by_key(batches: Iterator[pa.RecordBatch], wanted: pa.ChunkedArray) -> IntArray:
    keys, at = [], []
    for batch in batches:
        keys.append(batch.column("key").cast(pa.large_string()))
        at.append(batch.column("at").to_numpy())
    if not keys:
        return np.full(len(wanted), -1, np.int64)
    places = np.concatenate(at)
    found = pc.index_in(wanted, value_set=pa.concat_arrays(keys), skip_nulls=True)  # the first of equal ones
    index = np.asarray(found.fill_null(-1)).astype(np.int64)
    return np.where(index >= 0, places[index], -1)


def _among_all(rows: SourceRows, every: Pairs) -> tuple[IntArray, pa.ChunkedArray]:
    """Return the place of each pair (n,) among all pairs of the source, and the images of all of them."""
    columns = [batch.select(["shard", "row", "part", "image"]) for batch in every()]
    whole = pa.Table.from_batches(columns)
    per_row, per_shard = (1 + int(pc.max(whole[name]).as_py() or 0) for name in ("part", "row"))
    keys = [
        (_whole(table["shard"]) * per_shard + _whole(table["row"])) * per_row + _whole(table["part"])
        for table in (whole, rows.table)
    ]  # both ascending, the second a part of the first
    return np.searchsorted(keys[0], keys[1]).astype(np.int64), whole["image"]


def _whole(column: pa.ChunkedArray) -> IntArray:
    return np.asarray(column.to_numpy()).astype(np.int64)


def usable(vectors: Vectors, at: IntArray) -> npt.NDArray[np.bool_]:
    """Return which of the vectors ``at`` (n,) are there, finite and not zero throughout, (n,) bool."""
    good = np.zeros(len(at), np.bool_)
    wanted, places = np.unique(at, return_inverse=True)
    size = max(1, _BLOCK_BYTES // (4 * vectors.width))
    if not isinstance(vectors.rows, FileRows):
        size = max(size, len(wanted) // 8)  # a column is read from its start each time
    fit = np.zeros(len(wanted), np.bool_)
    for first in range(0, len(wanted), size):
        some = wanted[first : first + size]
        infinite, zero = unusable(vectors.take(some))
        fit[first : first + size] = ~infinite & ~zero & (some >= 0)
    good[:] = fit[places]
    return good


def opened(vectors: Vectors, at: IntArray, source: Source) -> FeatureStore:
    """Return vectors ``at`` (n,) as features of n items.

    Vectors in ``.npy`` files stay where they are. Those of a column, or of a compressed archive, cannot be
    read in random order: they are copied once to the user's cache, as float32.

    Raises:
        UserError: the copy cannot be written.
    """
    found = vectors.rows
    if isinstance(found, FileRows) and all(
        place.part is None or place.part.offset is not None for place in found.places
    ):
        return SourceVectors(found, at)
    about = json.dumps([fingerprint(source), vectors.fingerprint()], sort_keys=True, default=str)
    name = hashlib.sha256(about.encode() + at.tobytes()).hexdigest()[:24]
    path = cache_root() / "vectors" / f"{name}.npy"
    if not _is_whole(path, (len(at), vectors.width)):
        size = len(at) * vectors.width * 4
        logger.info(
            "copying the %s vectors %s to %s (%.1f GB), as training reads them in random order",
            *(vectors.side, vectors.name, path, size / 1e9),
        )
        _copy(vectors, at, path)
    return NpyFeatures(path)


def _is_whole(path: Path, shape: tuple[int, int]) -> bool:
    try:
        return NpyFeatures(path).shape == (shape[0], 1, shape[1])
    except DataError:  # none yet, or cut off
        return False


def _copy(vectors: Vectors, at: IntArray, path: Path) -> None:
    """Write vectors in their order as an array (n, D) float32, atomically."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(at), vectors.width)}
    size = max(1, 8 * _BLOCK_BYTES // (4 * vectors.width))

    def write(file: Any) -> None:
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, len(at), size):
            file.write(np.ascontiguousarray(vectors.take(at[first : first + size]), "<f4").tobytes())

    path.parent.mkdir(parents=True, exist_ok=True)
    write_with(path, write)
