"""Read the pairs of a task and write them as pieces, with the codes that joins compare.

A code is the first 64 bits of the SHA-1 of a text. Among 100 million different texts, the chance that any two
have the same code is 1 in 3,700.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from robustcmr.audit.captions import plain_sql, saying_nothing_sql, template_sql
from robustcmr.audit.database import stream
from robustcmr.audit.parts import PIECE, Task, cut, first_key, piece_name, reached, write_piece
from robustcmr.sources.records import PAIRS, Source

ReadPairs = Callable[..., Iterator[pa.RecordBatch]]
"""Reads the pairs of a shard as ``robustcmr.sources.pairs.pairs`` does."""


def code_of(text: str) -> str:
    """Return the SQL of the code of a text, a UBIGINT; 0 where it is null."""
    return f"coalesce(('0x' || substr(sha1({text}), 1, 16))::UBIGINT, 0)"


CODES = ("id_code", "image_code", "caption_code", "plain_code", "template_code")
CODED = pa.schema([*PAIRS, *((name, pa.uint64()) for name in CODES), ("nothing", pa.string())])
"""Columns of coded pairs; ``nothing`` is why a caption describes no picture, null where it may."""

_CODED = f"""
SELECT * EXCLUDE plain,
  {code_of("id")} AS id_code, {code_of("image")} AS image_code, {code_of("caption")} AS caption_code,
  {code_of("plain")} AS plain_code,
  {code_of(template_sql("plain"))} AS template_code,
  {saying_nothing_sql("caption", "plain")} AS nothing
FROM (SELECT *, {plain_sql("caption")} AS plain FROM batch)
"""


def with_codes(connection: duckdb.DuckDBPyConnection, table: pa.Table, first: int) -> pa.Table:
    """Add ``key`` from ``first`` on, codes of id, picture and forms of the caption.

    See :mod:`robustcmr.audit.captions` for the forms.
    """
    connection.register("batch", table)
    coded = pa.Table.from_batches(stream(connection, _CODED), CODED)
    connection.unregister("batch")
    keys = pa.array(np.arange(first, first + len(table), dtype=np.int64))
    return coded.add_column(0, "key", keys)


def write_rows(
    source: Source,
    task: Task,
    folder: Path,
    read: ReadPairs,
    where: str | None = None,
    need_pictures: bool = False,
    piece: int = PIECE,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the pieces of a task that are not there yet.

    Args:
        source: the pairs.
        task: of its shards.
        folder: of the pieces; all of them are checkpoints.
        read: reads the pairs of a shard.
        where: SQL condition that rows must meet.
        need_pictures: whether pairs without a picture file are set aside.
        piece: pairs of a piece, at most.
        progress: called with the pairs of each new piece.
    """
    at = reached(folder, task)
    if at.done:
        return
    number = at.pieces
    held: list[pa.RecordBatch] = []
    count = 0

    def write(table: pa.Table, shard: int, row: int, done: bool) -> None:
        nonlocal number
        about = {"pairs": len(table), "shard": shard, "row": row, "done": done}
        coded = with_codes(connection, table, first_key(task.number, number))
        write_piece(folder / f"{piece_name(task.number, number)}.parquet", coded, about)
        number += 1
        if progress is not None:
            progress(len(table))

    with duckdb.connect(config={"threads": 1}) as connection:
        for shard in task.shards[task.shards.index(at.shard) :]:
            start = at.row if shard == at.shard else 0
            for batch in read(source, source.shards[shard], start, where, need_pictures):
                held.append(batch.select(PAIRS.names))
                count += batch.num_rows
                while count > piece:
                    table = pa.Table.from_batches(held, PAIRS)
                    end = cut(table, piece)
                    if end is None:
                        break
                    following = table.slice(end, 1)
                    write(
                        table.slice(0, end), following["shard"][0].as_py(), following["row"][0].as_py(), False
                    )
                    rest = table.slice(end)
                    held, count = rest.to_batches(), len(rest)
        write(pa.Table.from_batches(held, PAIRS), task.shards[-1], 0, True)
