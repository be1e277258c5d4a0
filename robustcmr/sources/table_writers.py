"""Writers of pairs as parquet, and as a folder that the ``datasets`` library loads from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from robustcmr.files import atomic_file, write_json
from robustcmr.sources.saved_dataset import INFO, STATE, fingerprint_of

GROUP_BYTES, GROUP_ROWS = 64 * 2**20, 100_000
"""Bytes and rows of a row group, at most, a batch more or less."""

FILE_BYTES = 2**30
"""Bytes of rows of a file, about."""

_PAGE_ROWS = 64  # pages are cut after so many rows, which may hold pictures


class TableWriter:
    """Writes batches into files, one after the other, each of a handy size."""

    def __init__(self, schema: pa.Schema, opened: Callable[[int], AbstractContextManager[Any]]) -> None:
        """Open no file yet.

        Args:
            schema: of the batches.
            opened: opens the file of a number, from 0, to write tables to.
        """
        self._schema, self._opened = schema, opened
        self._stack = ExitStack()
        self._file: Any = None
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = self._held_rows = self._file_bytes = 0
        self.count = 0  # of files
        self.paths: tuple[Path, ...] = ()

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the next pairs."""
        self._held.append(batch)
        self._held_bytes += batch.nbytes
        self._held_rows += len(batch)
        if self._held_bytes >= GROUP_BYTES or self._held_rows >= GROUP_ROWS:
            self._flush()

    def close(self, error: BaseException | None = None) -> None:
        """Complete the last file, or leave it out after an error."""
        if error is not None:
            self._stack.__exit__(type(error), error, error.__traceback__)
            return
        if self._held or not self.count:
            self._flush()
        self._stack.close()

    def _flush(self) -> None:
        if self._file is None or self._file_bytes >= FILE_BYTES:
            self._stack.close()
            self._file = self._stack.enter_context(self._opened(self.count))
            self.count, self._file_bytes = self.count + 1, 0
        self._file.write_table(pa.Table.from_batches(self._held, self._schema))
        self._file_bytes += self._held_bytes
        self._held, self._held_bytes, self._held_rows = [], 0, 0

    def files(self) -> tuple[Path, ...]:
        """Return the files written, once all are complete."""
        return self.paths


@contextmanager
def writer(format: str, to: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """Open a writer of pairs; after an error, none of its files is left.

    Args:
        format: ``parquet`` or ``hf``.
        to: folder of the files.
        schema: of the batches.
    """
    saved = format == "hf"

    def path(number: int) -> Path:
        return to / (f".data-{number:05d}.arrow" if saved else f"pairs-{number:05d}.parquet")

    @contextmanager
    def opened(number: int) -> Iterator[Any]:
        with (
            atomic_file(path(number)) as file,
            pa.ipc.new_stream(file, schema) if saved else _parquet(file, schema) as table,
        ):
            yield table

    files = TableWriter(schema, opened)
    try:
        yield files
        files.close()
        paths = [path(number) for number in range(files.count)]
        files.paths = _save(to, paths) if saved else tuple(paths)
    except BaseException as error:
        files.close(error)
        for number in range(files.count):
            path(number).unlink(missing_ok=True)
        raise


def _parquet(file: Any, schema: pa.Schema) -> parquet.ParquetWriter:
    return parquet.ParquetWriter(file, schema, compression="zstd", write_batch_size=_PAGE_ROWS)


def _save(to: Path, parts: list[Path]) -> tuple[Path, ...]:
    """Name the files of a saved data set, now that their number is known, and describe it."""
    paths = [
        part.with_name(f"data-{number:05d}-of-{len(parts):05d}.arrow") for number, part in enumerate(parts)
    ]
    for part, path in zip(parts, paths, strict=True):
        part.replace(path)
    state: dict[str, Any] = {
        "_data_files": [{"filename": path.name} for path in paths],
        "_fingerprint": fingerprint_of("", paths),
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    write_json(to / STATE, state)
    # features are left out, as the library takes them from the schema of the files
    write_json(to / INFO, {"citation": "", "description": "", "homepage": "", "license": ""})
    return (*paths, to / STATE, to / INFO)
