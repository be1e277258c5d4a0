"""The pairs of an audit as a table, read a column at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.errors import DataError, UnknownNameError
from robustcmr.files import reason
from robustcmr.plugins import did_you_mean
from robustcmr.runs import frames


class AuditTable:
    """The pairs of an audit, a column at a time.

    Columns are attributes and items, NumPy arrays of one entry a pair, read from ``pairs.parquet`` at their
    first use: ``table.p_mismatch``, ``table["id"]``. Missing numbers are NaN, missing texts None.

    Args:
        path: the parquet file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_columns: dict[str, npt.NDArray[Any]] = {}
        try:
            with pq.ParquetFile(path) as file:
                self._names = tuple(file.schema_arrow.names)
                self._rows: int = file.metadata.num_rows
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self._names

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._read_columns:
            self._read_columns[name] = as_numpy(self.to_arrow([name]).column(0))
        return self._read_columns[name]

    def __getattr__(self, name: str) -> npt.NDArray[Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._names})

    def __repr__(self) -> str:
        return f"<AuditTable of {len(self):,} pairs: {', '.join(self._names)}>"

    def to_arrow(self, columns: list[str] | None = None) -> pa.Table:
        """Return all or some columns as a ``pyarrow.Table``.

        Raises:
            UserError: there is no such column, or the file is damaged.
        """
        for name in columns or ():
            if name not in self._names:
                raise UnknownNameError(
                    f"there is no column {name!r}{did_you_mean(name, self._names)} (known: "
                    f"{', '.join(self._names)})"
                )
        try:
            return pq.read_table(self._path, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self._path, error) from error

    def to_pandas(self) -> Any:
        """Return the table as a ``pandas.DataFrame``; raise UserError without pandas."""
        return frames.to_pandas({name: self[name] for name in self._names})

    def where(self, decision: str) -> pa.Table:
        """Return the rows of one decision."""
        try:
            return pq.read_table(self._path, filters=[("decision", "=", decision)])
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self._path, error) from error


def as_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a column as NumPy: missing numbers are NaN, missing texts None."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    return np.asarray(column.to_numpy())


def _unreadable(path: Path, error: Exception) -> DataError:
    why = reason(error) if isinstance(error, OSError) else str(error).splitlines()[0]
    return DataError(f"cannot read {path}: {why}; audit the pairs again")
