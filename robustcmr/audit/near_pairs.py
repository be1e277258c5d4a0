"""Pairs whose picture and caption are both near those of an earlier pair, or one of them the same.

Near pictures are known, see :mod:`robustcmr.audit.near_items`. Only captions that stand beside the same
picture, or beside pictures near each other, can then make near pairs; these are compared one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit.columns import write_columns
from robustcmr.audit.database import BATCH, database, parquet, stream
from robustcmr.audit.duplicate_groups import Connected, grouped
from robustcmr.audit.gather import Take, unit_rows
from robustcmr.audit.joins import SOUND
from robustcmr.audit.near_duplicates import CAPTIONS, cosine_of
from robustcmr.audit.near_items import near_file
from robustcmr.audit.parts import Piece, numbers_of
from robustcmr.files import atomic_file
from robustcmr.types import FloatArray, IntArray

NEAR = "near"
"""Column: 1 for pairs that are near an earlier one, but not the same."""

NEAR_PAIRS = "near_pairs.parquet"
"""``key`` of each such pair, and ``duplicate_of``, the id of the first that it is near; in order."""

WINDOW = 64
"""Earlier captions of the same pictures that a caption is compared with, at most."""

_COMPARED = 20_000  # captions whose vectors are in memory

_SCHEMA = pa.schema([("key", pa.int64()), ("duplicate_of", pa.string())])

_BESIDE = """
CREATE TABLE placed AS
  SELECT min(key) AS key, coalesce(any_value(images.first_code), image_code) AS place, plain_code
  FROM sound LEFT JOIN images USING (image_code) GROUP BY image_code, plain_code;
CREATE TABLE several AS SELECT place FROM placed GROUP BY place HAVING count(*) > 1;
CREATE TABLE near (key BIGINT, first BIGINT);
"""


def write_near_pairs(
    take: Take,
    pieces: Sequence[Piece],
    rows: Sequence[Path],
    joins: Path,
    memory: int,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write which pairs are near an earlier one, as a column of all pairs and a table.

    Args:
        take: reads vectors of captions by their positions.
        pieces: of all pairs.
        rows: their files.
        joins: folder of the columns, with ``text_at`` and the table of near pictures.
        memory: bytes that the joins may take.
        progress: called with the number of captions of every step.
    """
    at = np.load(joins / "text_at.npy", mmap_mode="r")
    cosine = cosine_of(CAPTIONS, len(at), lambda numbers: take(np.asarray(at[numbers])))
    with database(joins / "spill-near", memory) as connection:
        connection.execute(f"CREATE VIEW rows AS SELECT * FROM {parquet(list(rows))}")
        connection.execute(f"CREATE VIEW images AS SELECT * FROM {parquet([joins / near_file('image')])}")
        connection.execute(SOUND)
        connection.execute(_BESIDE)
        query = "SELECT key, place, plain_code FROM placed JOIN several USING (place) ORDER BY place, key"
        for table in _whole(stream(connection.cursor(), query, _COMPARED)):
            keys, place, plain = (table[name].to_numpy() for name in table.column_names)
            texts = np.asarray(at[numbers_of(pieces, keys)])
            unit, bad = unit_rows(take(texts))
            unit[(bad > 0) | (texts < 0)] = 0  # near nothing
            later, first = near_rows(place, plain, unit, cosine)
            _insert(connection, keys[later], keys[first])
            if progress is not None:
                progress(len(keys))
        query = (
            "SELECT near.key AS key, one.id AS duplicate_of FROM near "
            "JOIN rows AS one ON one.key = near.first ORDER BY near.key"
        )
        with atomic_file(joins / NEAR_PAIRS) as file, pq.ParquetWriter(file, _SCHEMA) as writer:
            for batch in stream(connection, query):
                writer.write_batch(batch.cast(_SCHEMA))
        query = (
            f"SELECT (near.key IS NOT NULL)::UTINYINT AS {NEAR} FROM rows LEFT JOIN near USING (key) "
            "ORDER BY key"
        )
        write_columns(joins, {NEAR: "|u1"}, len(at), stream(connection, query))


def write_no_near_pairs(joins: Path, count: int) -> None:
    """Write that no pair is near an earlier one, as :func:`write_near_pairs` does."""
    with atomic_file(joins / NEAR_PAIRS) as file:
        pq.write_table(_SCHEMA.empty_table(), file)
    zeros = (
        pa.record_batch({NEAR: np.zeros(min(BATCH, count - start), np.uint8)})
        for start in range(0, count, BATCH)
    )
    write_columns(joins, {NEAR: "|u1"}, count, zeros)


def near_rows(
    place: npt.NDArray[np.uint64], plain: npt.NDArray[np.uint64], unit: FloatArray, cosine: float
) -> tuple[IntArray, IntArray]:
    """Return the captions that are near an earlier one of the same place, and the first of each one's group.

    Args:
        place: (n,) equal for captions beside the same or near pictures, which come together.
        plain: (n,) codes of the captions.
        unit: (n, D) their vectors of length 1; zeros are near nothing.
        cosine: that counts as near.

    Returns:
        Rows (m,), ascending, and (m,) rows before them.
    """

    def alike(left: IntArray, right: IntArray) -> npt.NDArray[np.bool_]:
        product = np.einsum("ij,ij->i", unit[left], unit[right])
        return np.asarray((plain[left] == plain[right]) | (product >= cosine))

    connected = Connected()
    for offset in range(1, WINDOW + 1):
        left = np.flatnonzero(place[offset:] == place[:-offset])
        if not len(left):
            break
        near = left[alike(left + offset, left)]
        connected.join(near, near + offset)
    later, first, _ = grouped(connected, alike)
    return later, first


def _whole(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield batches that are cut between two places, where no place fills one alone."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        table = pa.Table.from_batches(held)
        place = table["place"].to_numpy()
        end = len(table) if len(table) >= 2 * _COMPARED else int(np.searchsorted(place, place[-1]))
        if end:
            yield table.slice(0, end)
        held = table.slice(end).to_batches()
    if held:
        yield pa.Table.from_batches(held)


def _insert(connection: duckdb.DuckDBPyConnection, keys: IntArray, firsts: IntArray) -> None:
    connection.register("batch", pa.table({"key": keys, "first": firsts}))
    connection.execute("INSERT INTO near SELECT key, first FROM batch")
    connection.unregister("batch")
