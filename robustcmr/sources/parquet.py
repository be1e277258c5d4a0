"""Parquet files, read by row groups and written back with their schema, metadata and compression."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from robustcmr.errors import DataError
from robustcmr.files import atomic_file
from robustcmr.sources.columns import choose
from robustcmr.sources.records import Columns, Shard
from robustcmr.sources.shards import (
    check_columns,
    check_names,
    copy_path,
    files_below,
    make_shards,
    reading,
    root_of,
    size_of,
    starts,
)
from robustcmr.sources.tables import MOST_BYTES, MOST_ROWS, Table, check_mask, kept_batches

SUFFIXES = (".parquet", ".pq", ".parq")
_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_PAGE = 2**20  # bytes of a data page, about
_LARGEST_GROUP = 256 * 2**20  # bytes of a row group to write; a larger one is divided


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether all paths are parquet files or folders of them."""
    return all(
        bool(files_below([path], SUFFIXES)) if path.is_dir() else starts(path, 4) in (_MAGIC, _ENCRYPTED)
        for path in paths
    )


def open(paths: Sequence[Path], columns: Columns) -> Parquet:
    """Open parquet files, or all below folders, as one source.

    Raises:
        DataError: there is none, one cannot be read or has other columns, or a named column is missing.
    """
    files = files_below(paths, SUFFIXES)
    if not files:
        raise DataError(
            f"{paths[0]} has no parquet files; expected names that end in {' or '.join(SUFFIXES)}"
        )
    rows: list[int | None] = []
    schema: pa.Schema | None = None
    for file in files:
        with _opened(file) as opened:
            found = opened.schema_arrow
            rows.append(opened.metadata.num_rows)
        if schema is None:
            schema = found
            check_names(file, schema.names)
        check_columns(files[0], schema, file, found)
    assert schema is not None
    chosen, says = choose(schema, columns, files[0])
    return Parquet(root_of(paths, files), make_shards(files, rows), chosen, says)


@dataclass(frozen=True)
class Parquet(Table):
    """Parquet files."""

    format: ClassVar[str] = "parquet"

    def schema(self) -> pa.Schema:
        """Return the schema of the first file."""
        with _opened(self.shards[0].path) as file:
            found: pa.Schema = file.schema_arrow
            return found

    def batches(self, shard: Shard, start: int = 0) -> Iterator[pa.RecordBatch]:
        """Read rows from ``start`` on; row groups before it are skipped."""
        return self._read(shard, start, None)

    def narrow(self, shard: Shard, start: int, names: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Read only the columns named."""
        return self._read(shard, start, [name for name in self.schema().names if name in names])

    def _read(self, shard: Shard, start: int, names: list[str] | None) -> Iterator[pa.RecordBatch]:
        with _opened(shard.path) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if start >= rows:
                    start -= rows
                    continue
                for batch in _batches(shard.path, file, group, names):
                    if start < batch.num_rows:
                        yield batch.slice(start)
                    start = max(0, start - batch.num_rows)

    def write(self, shard: Shard, keep: npt.NDArray[np.bool_], to: Path) -> tuple[Path, ...]:
        """Write rows to keep, row group by row group."""
        path = copy_path(self, shard, to)
        with _opened(shard.path) as file:
            check_mask(keep, file.metadata.num_rows, shard.path)
            options = writing_options(file)
            with (
                atomic_file(path) as target,
                parquet.ParquetWriter(target, file.schema_arrow, **options) as writer,
            ):
                at = 0
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    batches = _batches(shard.path, file, group)
                    _write_group(writer, kept_batches(batches, keep[at : at + rows]))
                    at += rows
        return (path,)


def _write_group(writer: Any, batches: Iterator[pa.RecordBatch]) -> None:
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size >= _LARGEST_GROUP:
            _flush(writer, waiting)
            waiting, size = [], 0
    _flush(writer, waiting)


def _flush(writer: Any, batches: list[pa.RecordBatch]) -> None:
    if batches:
        table = pa.Table.from_batches(batches)
        writer.write_table(table, row_group_size=table.num_rows)


def _batches(
    path: Path, file: parquet.ParquetFile, group: int, names: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read a row group in batches whose size follows from that of a row."""
    about = file.metadata.row_group(group)
    each = max(1, about.total_byte_size // max(1, about.num_rows))
    size = int(min(MOST_ROWS, max(1, MOST_BYTES // each)))
    with reading(path, "parquet"):  # errors name this file, not the copy
        yield from file.iter_batches(size, row_groups=[group], columns=names)


def writing_options(file: parquet.ParquetFile) -> dict[str, Any]:
    """Return the arguments of ``ParquetWriter`` with which a file was written, as far as it states them."""
    about = file.metadata
    compression: dict[str, str] = {}
    dictionary: dict[str, bool] = {}
    statistics: dict[str, bool] = {}
    old_times = False
    if about.num_row_groups:
        group = about.row_group(0)
        for number in range(group.num_columns):
            column = group.column(number)
            name = column.path_in_schema
            compression[name] = "NONE" if column.compression == "UNCOMPRESSED" else column.compression
            dictionary[name] = column.has_dictionary_page or "DICTIONARY" in "".join(
                map(str, column.encodings)
            )
            statistics[name] = column.is_stats_set
            old_times |= column.physical_type == "INT96"
    paths = [about.schema.column(number).path for number in range(about.num_columns)]
    version = about.format_version
    each = max(1, sum(group_size(about)) // max(1, about.num_rows))
    return {
        "write_batch_size": int(min(1024, max(1, _PAGE // each))),  # a page is as large as such a batch
        "compression": compression or "snappy",
        "use_dictionary": [name for name, used in dictionary.items() if used] if dictionary else True,
        "write_statistics": [name for name, used in statistics.items() if used] if statistics else True,
        "use_deprecated_int96_timestamps": old_times,
        "use_compliant_nested_type": not any(".list.item" in path for path in paths),
        "store_schema": b"ARROW:schema" in (about.metadata or {}),
        "version": version if version in ("1.0", "2.4", "2.6") else "2.6",
    }


def group_size(about: parquet.FileMetaData) -> list[int]:
    """Return the bytes of each row group, not compressed."""
    return [about.row_group(group).total_byte_size for group in range(about.num_row_groups)]


@contextmanager
def _opened(path: Path) -> Iterator[parquet.ParquetFile]:
    """Open a parquet file to read it in a stream."""
    size = size_of(path)
    with reading(path, "parquet"):
        _check_frame(path, size)
        with (
            pa.OSFile(os.fsencode(path)) as plain,
            parquet.ParquetFile(plain, buffer_size=2**20, pre_buffer=False) as file,
        ):
            yield file


def _check_frame(path: Path, size: int) -> None:
    first = starts(path, 4)
    if first == _ENCRYPTED:
        raise DataError(f"{path} is encrypted, expected plain parquet; decrypt it first")
    if first != _MAGIC:
        raise DataError(f"{path} is no parquet file: it starts with {first!r}, expected {_MAGIC!r}")
    with path.open("rb") as file:
        file.seek(max(0, size - 4))
        if size < 12 or file.read(4) != _MAGIC:
            raise DataError(
                f"{path} is cut off: it starts as parquet, but has no footer; copy it again, or leave it out"
            )
