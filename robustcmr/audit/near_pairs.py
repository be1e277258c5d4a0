"""Pairs whose picture and caption are both near those of an earlier pair, or the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit.columns import write_columns
from robustcmr.audit.database import database, parquet, stream
from robustcmr.audit.joins import SOUND
from robustcmr.audit.near_items import Side, near_file
from robustcmr.files import atomic_file

NEAR = "near"
"""Column: 1 for pairs that are near an earlier one, but not the same."""

NEAR_PAIRS = "near_pairs.parquet"
"""``key`` of each such pair, and ``duplicate_of``, the id of the first that it is near; in order."""

_TABLES = """
CREATE TABLE placed AS SELECT key, image_code, plain_code,
    coalesce(images.first_code, image_code) AS image_first,
    coalesce(texts.first_code, plain_code) AS text_first
  FROM sound LEFT JOIN images USING (image_code) LEFT JOIN texts USING (plain_code);
CREATE TABLE met AS SELECT image_first, text_first, min(key) AS first FROM placed
  GROUP BY image_first, text_first HAVING count(*) > 1;
CREATE TABLE near AS
  SELECT placed.key AS key, one.id AS duplicate_of
  FROM placed JOIN met USING (image_first, text_first) JOIN rows AS one ON one.key = met.first
  WHERE placed.image_code <> one.image_code OR placed.plain_code <> one.plain_code;
"""


def write_near_pairs(rows: Sequence[Path], joins: Path, count: int, memory: int) -> None:
    """Write which pairs are near an earlier one, as a column of all pairs and a table.

    Args:
        rows: pieces of all pairs.
        joins: folder of the columns, with the tables of near pictures and captions.
        count: number of pairs.
        memory: bytes that the joins may take.
    """
    with database(joins / "spill-near", memory) as connection:
        connection.execute(f"CREATE VIEW rows AS SELECT * FROM {parquet(list(rows))}")
        sides: tuple[Side, ...] = ("image", "text")
        for side in sides:
            table = parquet([joins / near_file(side)])
            connection.execute(f"CREATE VIEW {side}s AS SELECT * FROM {table}")
        connection.execute(SOUND)
        connection.execute(_TABLES)
        schema = pa.schema([("key", pa.int64()), ("duplicate_of", pa.string())])
        with atomic_file(joins / NEAR_PAIRS) as file, pq.ParquetWriter(file, schema) as writer:
            for batch in stream(connection, "SELECT key, duplicate_of FROM near ORDER BY key"):
                writer.write_batch(batch.cast(schema))
        query = (
            f"SELECT (near.key IS NOT NULL)::UTINYINT AS {NEAR} FROM rows LEFT JOIN near USING (key) "
            "ORDER BY key"
        )
        write_columns(joins, {NEAR: "|u1"}, count, stream(connection, query))
