"""Writer of pairs as a subset of DataComp: metadata in parquet, and the list of uids that its tools take."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from robustcmr.files import atomic_file
from robustcmr.sources.columns import is_bytes, is_picture_struct
from robustcmr.sources.datacomp import SUBSET, uid_halves
from robustcmr.sources.table_writers import TableWriter

LIST = "kept.npy"
"""Name of the list of uids."""

_UID = "^[0-9a-f]{32}$"
_OWN = ("uid", "url", "text", "id")  # columns written first
_BATCH = 100_000  # uids at once

logger = logging.getLogger("robustcmr")


_FIRST = ("id", "image", "caption")  # columns of the batches


class DataCompPairs:
    """Writes pairs as metadata; see :func:`writer`."""

    def __init__(self, table: TableWriter, schema: pa.Schema) -> None:
        self._table, self._schema = table, schema
        self._said = False
        self.paths: tuple[Path, ...] = ()

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the next pairs."""
        ids = batch.column("id")
        given = pc.match_substring_regex(ids, _UID).fill_null(False)
        if not pc.all(given).as_py():
            if not self._said:
                logger.warning(
                    "ids are not uids of 32 hexadecimal digits: the column uid holds their hashes (BLAKE2b "
                    "of 128 bits), and the column id the ids"
                )
            self._said = True
            ids = pa.array(
                [
                    one if fits else _hash(one)
                    for one, fits in zip(ids.to_pylist(), given.to_pylist(), strict=True)
                ],
                pa.string(),
            )
        columns = {"uid": ids, "url": _names(batch.column("image")), "text": batch.column("caption")}
        columns["id"] = batch.column("id")
        others = [
            column
            for column, field in zip(batch.columns, batch.schema, strict=True)
            if field.name not in _FIRST
        ]
        arrays = [*columns.values(), *others]
        self._table.write(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def files(self) -> tuple[Path, ...]:
        """Return the files written, once all are complete."""
        return self.paths


@contextmanager
def writer(format: str, to: Path, schema: pa.Schema) -> Iterator[DataCompPairs]:
    """Open a writer of pairs; after an error, none of its files is left.

    ``00000000.parquet`` and so on have the columns ``uid``, ``url``, ``text`` and ``id``, and all others but
    pictures; ``kept.npy`` has the uids, ascending, each once, as pairs of 64-bit halves.

    Args:
        format: ``datacomp``.
        to: folder of the files.
        schema: of the batches.
    """
    del format  # this module has one
    others = [field for field in schema if field.name not in _FIRST]
    renamed = [
        field.with_name(f"{field.name}_of_source") if field.name in _OWN else field for field in others
    ]
    full = pa.schema([*((name, pa.string()) for name in _OWN), *renamed])

    def path(number: int) -> Path:
        return to / f"{number:08}.parquet"

    @contextmanager
    def opened(number: int) -> Iterator[Any]:
        with atomic_file(path(number)) as file, parquet.ParquetWriter(file, full) as table:
            yield table

    table = TableWriter(full, opened)
    pairs = DataCompPairs(table, full)
    try:
        yield pairs
        table.close()
        paths = [path(number) for number in range(table.count)]
        write_list(to / LIST, paths)
        pairs.paths = (*paths, to / LIST)
    except BaseException as error:
        table.close(error)
        for number in range(table.count):
            path(number).unlink(missing_ok=True)
        raise


def write_list(path: Path, tables: Sequence[Path], memory: str = "1GB") -> None:
    """Write the uids of parquet files as the ``.npy`` that DataComp's resharder reads, in bounded memory.

    Args:
        path: of the list.
        tables: with a column ``uid`` of 32 hexadecimal digits.
        memory: that the sort may take.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as spill:
        config = {"memory_limit": memory, "temp_directory": spill}
        with duckdb.connect(config=config) as connection, atomic_file(path) as file:  # type: ignore[arg-type]
            connection.read_parquet([str(table) for table in tables]).create_view("pairs")
            ((count,),) = connection.execute("SELECT count(DISTINCT uid) FROM pairs").fetchall()
            header = {
                "descr": np.lib.format.dtype_to_descr(SUBSET),
                "fortran_order": False,
                "shape": (count,),
            }
            np.lib.format.write_array_header_1_0(file, header)
            uids = connection.execute("SELECT DISTINCT uid FROM pairs ORDER BY uid")
            while part := uids.fetchmany(_BATCH):
                file.write(uid_halves(uid for (uid,) in part).tobytes())


def _names(images: pa.Array) -> pa.Array:
    """Return what names pictures; null where only their bytes are known."""
    kind = images.type
    if is_picture_struct(kind):
        names = [field.name for field in kind]
        return (
            pc.struct_field(images, "path").cast(pa.string())
            if "path" in names
            else pa.nulls(len(images), pa.string())
        )
    return pa.nulls(len(images), pa.string()) if is_bytes(kind) else images.cast(pa.string())


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
