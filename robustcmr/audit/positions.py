"""Which vector belongs to each pair: found by a key, or counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from robustcmr.audit.columns import write_columns
from robustcmr.audit.database import database, parquet, stream
from robustcmr.audit.rows import code_of

if TYPE_CHECKING:
    from robustcmr.sources.vectors import Vectors


def write_positions(
    vectors: Vectors,
    name: str,
    rows: Sequence[Path],
    to: Path,
    count: int,
    memory: int,
    every: Iterator[pa.RecordBatch] | None = None,
) -> tuple[int, int]:
    """Write the position of each pair's vector, -1 for none, as the column ``name``.

    Args:
        vectors: of one side.
        name: of the column.
        rows: pieces of the pairs.
        to: folder of the columns.
        count: number of pairs.
        memory: bytes that the join may take.
        every: all pairs of the source, where a filter left some out of ``rows``.

    Returns:
        How many different keys the vectors have, and how many of them several times; 0 where they have none.
    """
    with database(to / f"spill-{name}", memory) as connection:
        connection.execute(f"CREATE VIEW rows AS SELECT * FROM {parquet(list(rows))}")
        keys, repeated = 0, 0
        ordered = "SELECT key, shard, row FROM rows ORDER BY key"
        if vectors.by == "row":
            at = _of_rows(vectors, stream(connection, ordered), name)
        else:
            if (given := vectors.keys()) is not None:
                keys, repeated = _key_table(connection, given)
                on = f"places.code = rows.{vectors.by}_code AND rows.{vectors.by} IS NOT NULL"
            else:
                on = _count_table(connection, every, of_images=vectors.by == "image position")
            query = f"SELECT coalesce(place, -1) AS {name} FROM rows LEFT JOIN places ON {on} ORDER BY key"
            at = stream(connection, query)
        write_columns(to, {name: "<i8"}, count, at)
    return keys, repeated


def _of_rows(vectors: Vectors, batches: Iterator[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        at = vectors.at_rows(batch["shard"].to_numpy(), batch["row"].to_numpy())
        yield pa.RecordBatch.from_arrays([pa.array(at)], [name])


def _key_table(connection: duckdb.DuckDBPyConnection, keys: Iterator[pa.RecordBatch]) -> tuple[int, int]:
    """Make the table of keys, each with the first of its vectors; return how many, and how many repeat."""
    connection.execute("CREATE TABLE given (code UBIGINT, place BIGINT)")
    insert = f"INSERT INTO given SELECT {code_of('key')}, place FROM batch WHERE key IS NOT NULL"
    for batch in keys:
        connection.register("batch", pa.table([batch["key"], batch["at"]], ["key", "place"]))
        connection.execute(insert)
        connection.unregister("batch")
    connection.execute(
        "CREATE TABLE places AS SELECT code, min(place) AS place, count(*) AS times FROM given GROUP BY code"
    )
    connection.execute("DROP TABLE given")
    # all rows: a result that is not read to its end keeps the connection
    ((keys_found, repeated),) = connection.execute(
        "SELECT count(*), count(*) FILTER (times > 1) FROM places"
    ).fetchall()
    return int(keys_found), int(repeated)


def _count_table(
    connection: duckdb.DuckDBPyConnection, every: Iterator[pa.RecordBatch] | None, of_images: bool
) -> str:
    """Make the table of positions, of pairs or of pictures in order of first appearance; return its join."""
    source = "rows"
    if every is not None:
        source = "all_pairs"
        connection.execute(
            "CREATE TABLE all_pairs (key BIGINT, shard INTEGER, row BIGINT, part INTEGER, image VARCHAR, "
            "image_code UBIGINT)"
        )
        start = 0
        for batch in every:
            keys = pa.array(np.arange(start, start + len(batch), dtype=np.int64))
            table = pa.table(batch.select(["shard", "row", "part", "image"])).add_column(0, "key", keys)
            connection.register("batch", table)
            connection.execute(
                "INSERT INTO all_pairs SELECT key, shard, row, part, "
                f"if(image IS NULL, NULL, ''), {code_of('image')} FROM batch"
            )
            connection.unregister("batch")
            start += len(batch)
    if of_images:
        connection.execute(
            "CREATE TABLE places AS SELECT code, row_number() OVER (ORDER BY first) - 1 AS place FROM ("
            f"SELECT image_code AS code, min(key) AS first FROM {source} "
            "WHERE image IS NOT NULL GROUP BY code)"
        )
        return "places.code = rows.image_code AND rows.image IS NOT NULL"
    connection.execute(
        "CREATE TABLE places AS SELECT shard, row, part, row_number() OVER (ORDER BY key) - 1 AS place "
        f"FROM {source}"
    )
    return "places.shard = rows.shard AND places.row = rows.row AND places.part = rows.part"
