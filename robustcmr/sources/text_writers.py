"""Writers of pairs as CSV and as JSON lines."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from robustcmr.errors import DataError
from robustcmr.files import atomic_file
from robustcmr.sources.columns import is_bytes, is_list, value_type

_NAMES = {"csv": "pairs.csv", "jsonl": "pairs.jsonl"}


class _Lines:
    def __init__(self, path: Path, file: BinaryIO, schema: pa.Schema) -> None:
        self._path, self._file, self._names = path, file, schema.names

    def write(self, batch: pa.RecordBatch) -> None:
        raise NotImplementedError

    def files(self) -> tuple[Path, ...]:
        return (self._path,)


class _Csv(_Lines):
    def __init__(self, path: Path, file: BinaryIO, schema: pa.Schema) -> None:
        super().__init__(path, file, schema)
        self._add([self._names])

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [[_cell(value) for value in column.to_pylist()] for column in batch.columns]
        self._add(list(row) for row in zip(*columns, strict=True))

    def _add(self, rows: Any) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue().encode())


class _Jsonl(_Lines):
    def write(self, batch: pa.RecordBatch) -> None:
        lines = [json.dumps(json_value(row), ensure_ascii=False) for row in batch.to_pylist()]
        self._file.write("".join(f"{line}\n" for line in lines).encode())


def _cell(value: Any) -> Any:
    """A value of a CSV cell: nothing for null, JSON for what is nested."""
    return json.dumps(json_value(value), ensure_ascii=False) if isinstance(value, (list, dict)) else value


def json_value(value: Any) -> Any:
    """Return a value as JSON can hold it: NaN as null, times and the like as text."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


@contextmanager
def writer(format: str, to: Path, schema: pa.Schema) -> Iterator[_Lines]:
    """Open a writer of pairs.

    Args:
        format: ``csv`` or ``jsonl``.
        to: folder of the file.
        schema: of the batches.

    Raises:
        DataError: a column holds bytes.
    """
    for field in schema:
        if has_bytes(field.type):
            raise DataError(
                f"the column {field.name!r} holds bytes, which {format} cannot; write parquet or hf "
                "instead, such as --format parquet"
            )
    path = to / _NAMES[format]
    with atomic_file(path) as file:
        yield (_Csv if format == "csv" else _Jsonl)(path, file, schema)


def has_bytes(kind: pa.DataType) -> bool:
    """Return whether values of a type hold bytes, at any depth."""
    kind = value_type(kind)
    if is_list(kind):
        return has_bytes(kind.value_type)
    if pa.types.is_struct(kind):
        return any(has_bytes(kind.field(number).type) for number in range(kind.num_fields))
    return is_bytes(kind)
