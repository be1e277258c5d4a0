"""DuckDB for joins and counts of any size: bounded memory, the rest spills to disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

import duckdb
import pyarrow as pa

from robustcmr.errors import UserError

BATCH = 100_000
"""Rows that :func:`stream` holds at once."""


@contextmanager
def database(spill: Path, memory: int, threads: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty database in memory for one join.

    Args:
        spill: folder for what does not fit; removed afterwards.
        memory: bytes it may take.
        threads: None for one a core.

    Raises:
        UserError: the memory or the disk is too small.
    """
    spill.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "memory_limit": f"{memory // 2**20}MiB",
        "temp_directory": str(spill),
        "preserve_insertion_order": "false",  # every query that needs an order says so
        **({} if threads is None else {"threads": threads}),
    }
    try:
        with duckdb.connect(":memory:", config=config) as connection:
            yield connection
    except duckdb.OutOfMemoryException as error:
        raise UserError(
            f"a join needs more than {memory / 2**30:,.1f} GiB of memory or more disk than {spill} has; "
            "give --memory more, or choose an output folder on a larger disk"
        ) from error
    finally:
        rmtree(spill, ignore_errors=True)


def stream(connection: duckdb.DuckDBPyConnection, query: str, batch: int = BATCH) -> Iterator[pa.RecordBatch]:
    """Run a query and return its rows in batches, in bounded memory."""
    relation = connection.sql(query)
    reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch  # renamed in 2.0
    yield from reader(batch)


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def parquet(files: list[Path]) -> str:
    """Return the SQL of a table that reads parquet files."""
    return f"read_parquet([{', '.join(quoted(str(path)) for path in files)}])"
