"""What pairs have in common: repeated ids, repeated captions, and pairs that are there twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit.columns import write_columns
from robustcmr.audit.database import database, parquet, stream
from robustcmr.audit.parts import Piece
from robustcmr.files import atomic_file
from robustcmr.types import IntArray

FACTS = {
    "repeated_id": "|u1",  # 1 for all pairs of an id but the first
    "caption_pairs": "<i4",  # pairs with exactly this caption
    "plain_pairs": "<i4",  # pairs with this normalised caption
    "plain_images": "<i4",  # different pictures that have it
    "template_pairs": "<i4",  # pairs with this caption up to its numbers
    "template_images": "<i4",
    "duplicate": "|u1",  # 1 for all but the first pair of a picture and a normalised caption
}
"""Columns that :func:`write_facts` writes; counts are 0 for pairs that are set aside."""

DUPLICATES = "duplicates.parquet"
"""``key`` of each pair that is there twice, and ``duplicate_of``, the id of the first; in order."""

SOUND = """
CREATE VIEW named AS SELECT * FROM rows WHERE problem IS NULL;
CREATE TABLE ids AS SELECT id_code, min(key) AS first FROM named GROUP BY id_code HAVING count(*) > 1;
CREATE VIEW sound AS SELECT named.* FROM named LEFT JOIN ids USING (id_code)
  WHERE ids.first IS NULL OR ids.first = key;
"""
"""SQL of the view ``sound``: pairs of ``rows`` that have no problem and no id of an earlier pair."""

_TABLES = f"""
CREATE TABLE exact AS SELECT caption_code, count(*) AS pairs FROM sound GROUP BY caption_code
  HAVING count(*) > 1;
{
    "".join(
        f'''
CREATE TABLE {kind} AS SELECT {kind}_code, sum(pairs) AS pairs, count(*) AS images
  FROM (SELECT {kind}_code, image_code, count(*) AS pairs FROM sound GROUP BY ALL)
  GROUP BY {kind}_code HAVING sum(pairs) > 1;'''
        for kind in ("plain", "template")
    )
}
CREATE TABLE twice AS SELECT image_code, plain_code, min(key) AS first FROM sound
  GROUP BY image_code, plain_code HAVING count(*) > 1;
"""

_FACTS = """
WITH marked AS (
  SELECT rows.*, problem IS NULL AND coalesce(ids.first = key, true) AS fit
  FROM rows LEFT JOIN ids USING (id_code)
)
SELECT key,
  (NOT fit AND problem IS NULL)::UTINYINT AS repeated_id,
  if(fit, coalesce(exact.pairs, 1), 0)::INTEGER AS caption_pairs,
  if(fit, coalesce(plain.pairs, 1), 0)::INTEGER AS plain_pairs,
  if(fit, coalesce(plain.images, 1), 0)::INTEGER AS plain_images,
  if(fit, coalesce(template.pairs, 1), 0)::INTEGER AS template_pairs,
  if(fit, coalesce(template.images, 1), 0)::INTEGER AS template_images,
  (fit AND coalesce(twice.first <> key, false))::UTINYINT AS duplicate
FROM marked
LEFT JOIN exact USING (caption_code)
LEFT JOIN plain USING (plain_code)
LEFT JOIN template USING (template_code)
LEFT JOIN twice USING (image_code, plain_code)
ORDER BY key
"""

_DUPLICATES = """
SELECT sound.key AS key, one.id AS duplicate_of
FROM sound JOIN twice USING (image_code, plain_code) JOIN rows AS one ON one.key = twice.first
WHERE sound.key <> twice.first
ORDER BY key
"""


def write_facts(rows: Sequence[Path], to: Path, count: int, memory: int) -> None:
    """Find what pairs have in common, and write it as columns of all pairs and the table of duplicates.

    Pairs with a problem, and all pairs of an id but the first, take no part.

    Args:
        rows: pieces of all pairs.
        to: folder of the columns.
        count: number of pairs.
        memory: bytes that the joins may take.
    """
    with database(to / "spill", memory) as connection:
        connection.execute(f"CREATE VIEW rows AS SELECT * FROM {parquet(list(rows))}")
        connection.execute(SOUND)
        connection.execute(_TABLES)
        schema = pa.schema([("key", pa.int64()), ("duplicate_of", pa.string())])
        with atomic_file(to / DUPLICATES) as file, pq.ParquetWriter(file, schema) as writer:
            for batch in stream(connection, _DUPLICATES):
                writer.write_batch(batch.cast(schema))
        write_columns(to, FACTS, count, stream(connection, _FACTS))


def duplicates_of(table: Path, piece: Piece) -> tuple[IntArray, pa.Array]:
    """Return the pairs of a piece that a table of duplicates holds, by position, and ids of their first ones.

    Args:
        table: such as :data:`DUPLICATES`.
        piece: which.
    """
    first = piece.first_key
    found = pq.read_table(table, filters=[("key", ">=", first), ("key", "<", first + piece.pairs)])
    return found["key"].to_numpy() - first, found["duplicate_of"].combine_chunks()
