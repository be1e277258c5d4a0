"""Pictures, or captions, of an audit whose vectors, or hashes, are nearly those of an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit.columns import read_column, write_columns
from robustcmr.audit.database import BATCH, database, parquet, stream
from robustcmr.audit.duplicate_groups import Duplicates
from robustcmr.audit.near_duplicates import CAPTIONS, PICTURES, Take, cosine_of, near_duplicates
from robustcmr.audit.picture_hashes import PictureHashes
from robustcmr.files import atomic_file
from robustcmr.types import FloatArray, IntArray

Side = Literal["image", "text"]

CODES = {"image": "image_code", "text": "plain_code"}
LIKENESS = {"image": PICTURES, "text": CAPTIONS}


def near_file(side: Side) -> str:
    """Return the name of the table that :func:`write_near_items` writes."""
    return f"near_{side}s.parquet"


def write_near_items(
    side: Side,
    take: Take,
    rows: Sequence[Path],
    joins: Path,
    memory: int,
    progress: Callable[[int], None] | None = None,
    hashes: PictureHashes | None = None,
) -> Duplicates:
    """Find pictures or captions near an earlier one, and write the codes of both as a table.

    Each picture counts once, however many pairs have it, with the vector of its first pair that has one;
    captions count by their plain form. The columns are the code, ``image_code`` or ``plain_code``, and
    ``first_code``, that of the first of the group, and ``first_key``, the first pair that has it. The
    metadata hold the cosine that counts as near among these vectors.

    Args:
        side: ``image`` or ``text``.
        take: reads vectors (k, D) by their positions (k,).
        rows: pieces of all pairs, with their codes.
        joins: folder of the columns, with ``image_at`` or ``text_at``; receives the table.
        memory: bytes that the join may take.
        progress: as for :func:`robustcmr.audit.near_duplicates.near_duplicates`.
        hashes: of the pictures, by the positions of their vectors; those that are alike are near too.

    Returns:
        What was found among the distinct items, by their order of first appearance.
    """
    code = CODES[side]
    with database(joins / f"spill-near-{side}", memory) as connection:
        connection.execute(f"CREATE VIEW rows AS SELECT * FROM {parquet(list(rows))}")
        connection.execute("CREATE TABLE placed (code UBIGINT, key BIGINT, place BIGINT)")
        query = f"SELECT {code} AS code, key, problem IS NULL AS sound FROM rows ORDER BY key"
        start = 0
        for batch in stream(connection.cursor(), query):
            at = read_column(joins, f"{side}_at", slice(start, start + batch.num_rows))
            start += batch.num_rows
            there = batch.column("sound").to_numpy(zero_copy_only=False) & (at >= 0)
            kept = {name: batch.column(name).filter(pa.array(there)) for name in ("code", "key")}
            connection.register("batch", pa.table({**kept, "place": at[there]}))
            connection.execute("INSERT INTO placed SELECT code, key, place FROM batch")
            connection.unregister("batch")
        connection.execute(
            "CREATE TABLE items AS SELECT code, min(key) AS key, arg_min(place, key) AS place FROM placed "
            "GROUP BY code"
        )
        connection.execute("DROP TABLE placed")
        ((items,),) = connection.execute("SELECT count(*) FROM items").fetchall()
        kinds = {"near_code": "<u8", "near_key": "<i8", "near_at": "<i8"}
        query = "SELECT code AS near_code, key AS near_key, place AS near_at FROM items ORDER BY key"
        write_columns(joins, kinds, items, stream(connection, query))
    codes, keys, places = (np.load(joins / f"{name}.npy", mmap_mode="r") for name in kinds)

    def read(chosen: IntArray) -> FloatArray:
        return take(np.asarray(places[chosen]))

    threshold = cosine_of(LIKENESS[side], items, read) if items else 1.0
    also, unfinished = None, 0
    if hashes is not None:
        ours = hashes.at(np.asarray(places))
        connected, unfinished = ours.connected()
        also = connected, ours.alike
    found = near_duplicates(items, read, threshold, folder=joins, progress=progress, also=also)
    found = replace(found, unfinished=found.unfinished + unfinished)
    columns = [(code, pa.uint64()), ("first_code", pa.uint64()), ("first_key", pa.int64())]
    schema = pa.schema(columns, metadata={"cosine": f"{threshold:.6f}"})
    with atomic_file(joins / near_file(side)) as file, pq.ParquetWriter(file, schema) as writer:
        for start in range(0, len(found), BATCH):
            part = slice(start, start + BATCH)
            these, first = found.rows[part], found.first[part]
            named = [pa.array(values) for values in (codes[these], codes[first], keys[first])]
            writer.write_table(pa.table(named, schema=schema))
    for name in kinds:
        (joins / f"{name}.npy").unlink()
    return found
