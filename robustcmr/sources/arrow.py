"""Arrow files and streams, Feather among them, written back as they were: kind, schema and compression."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from robustcmr.errors import DataError
from robustcmr.files import atomic_file
from robustcmr.sources.arrow_messages import FILE_MAGIC, Outline, outline
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

SUFFIXES = (".arrow", ".feather", ".ipc", ".arrows")
_STREAM = b"\xff\xff\xff\xff"  # continuation mark that starts each message of a stream
_FEATHER_1 = b"FEA1"
_LARGEST_BATCH = 2 * MOST_BYTES  # that is read into memory


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether all paths are Arrow files or folders of them."""
    return all(bool(files_below([path], SUFFIXES)) if path.is_dir() else _is_arrow(path) for path in paths)


def _is_arrow(path: Path) -> bool:
    first = starts(path, 6)
    return first == FILE_MAGIC or first[:4] in (_STREAM, _FEATHER_1)


def open(paths: Sequence[Path], columns: Columns) -> Arrow:
    """Open Arrow files, or all below folders, as one source.

    Raises:
        DataError: there is none, one cannot be read or has other columns, or a named column is missing.
    """
    files = files_below(paths, SUFFIXES)
    if not files:
        expected = " or ".join(SUFFIXES)
        raise DataError(f"{paths[0]} has no Arrow files; expected names that end in {expected}")
    schema, rows = survey(files)
    chosen, says = choose(schema, columns, files[0])
    return Arrow(root_of(paths, files), make_shards(files, rows), chosen, says)


def survey(files: Sequence[Path]) -> tuple[pa.Schema, list[int]]:
    """Return the schema of the first file and the rows of each; raise DataError if their columns differ."""
    rows = []
    schema: pa.Schema | None = None
    for file in files:
        rows.append(outlined(file).rows)
        found = schema_of(file)
        if schema is None:
            schema = found
            check_names(file, found.names)
        check_columns(files[0], schema, file, found)
    assert schema is not None
    return schema, rows


@dataclass(frozen=True)
class Arrow(Table):
    """Arrow files."""

    format: ClassVar[str] = "arrow"

    def schema(self) -> pa.Schema:
        """Return the schema of the first file."""
        return schema_of(self.shards[0].path)

    def batches(self, shard: Shard, start: int = 0) -> Iterator[pa.RecordBatch]:
        """Read rows from ``start`` on; batches before it are skipped."""
        with _opened(shard.path, outlined(shard.path).largest) as reader:
            for batch in _batches(shard.path, reader):
                if start < batch.num_rows:
                    yield from _parts(batch.slice(start))
                start = max(0, start - batch.num_rows)

    def write(self, shard: Shard, keep: npt.NDArray[np.bool_], to: Path) -> tuple[Path, ...]:
        """Write rows to keep, batch by batch."""
        path = copy_path(self, shard, to)
        about = outlined(shard.path)
        check_mask(keep, about.rows, shard.path)
        options = pa.ipc.IpcWriteOptions(compression=about.compression)
        new = pa.ipc.new_file if about.is_file else pa.ipc.new_stream
        with (
            _opened(shard.path, about.largest) as reader,
            atomic_file(path) as target,
            new(target, reader.schema, options=options) as writer,
        ):
            parts = (part for batch in _batches(shard.path, reader) for part in _parts(batch))
            for kept in kept_batches(parts, keep):
                writer.write_batch(kept)
        return (path,)


def _batches(path: Path, reader: Any) -> Iterator[pa.RecordBatch]:
    with reading(path, "Arrow"):  # errors name this file, not the copy
        if isinstance(reader, pa.RecordBatchFileReader):
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            yield from reader


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in slices of bounded size, which share its memory."""
    each = max(1, batch.nbytes // max(1, batch.num_rows))
    size = int(min(MOST_ROWS, max(1, MOST_BYTES // each)))
    for at in range(0, batch.num_rows, size):
        yield batch.slice(at, size)


def schema_of(path: Path) -> pa.Schema:
    """Return the schema of an Arrow file."""
    with _opened(path) as reader:
        found: pa.Schema = reader.schema
        return found


def outlined(path: Path) -> Outline:
    """Return the outline of an Arrow file; raise DataError if it cannot be read."""
    _check_start(path)
    with reading(path, "Arrow"):
        return outline(path)


@contextmanager
def _opened(path: Path, largest: int = 0) -> Iterator[Any]:
    """Open an Arrow file; its batches are read one by one, or mapped into memory where one is too large."""
    _check_start(path)
    opened = pa.OSFile if largest <= _LARGEST_BATCH else pa.memory_map
    with reading(path, "Arrow"), opened(os.fsencode(path)) as source:
        is_file = starts(path, 6) == FILE_MAGIC
        with pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source) as reader:
            yield reader


def _check_start(path: Path) -> None:
    size_of(path)
    first = starts(path, 6)
    if first[:4] == _FEATHER_1:
        raise DataError(
            f"{path} is Feather of version 1, expected version 2; write it again with a newer "
            "pyarrow or pandas"
        )
    if first != FILE_MAGIC and first[:4] != _STREAM:
        raise DataError(f"{path} is no Arrow file: it starts with {first!r}, expected {FILE_MAGIC!r}")
