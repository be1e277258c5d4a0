"""Sums over all pairs of a caption: each piece gives its terms, DuckDB adds them up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit.columns import read_column, write_columns
from robustcmr.audit.database import database, parquet, stream
from robustcmr.audit.judging import FIXED, Columns
from robustcmr.audit.parts import Piece, write_piece
from robustcmr.audit.sampling import Smallest, mixed
from robustcmr.types import IntArray

MOST = 1_000_000
"""Captions, and pairs, that priors are estimated from, at most."""

_TERMS = pa.schema([("plain_code", pa.uint64()), ("term", pa.int64())])

Terms = Callable[[Columns], tuple[IntArray, IntArray]]


def scored_columns(work: Path, piece: Piece, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the scores of a piece, and columns of its pairs by name."""
    scores = pq.read_table(work / "scores" / f"{piece.name}.parquet")
    found: dict[str, npt.NDArray[Any]] = {name: scores[name].to_numpy() for name in scores.column_names}
    return found | {name: read_column(work / "joins", name, piece.rows) for name in names}


def write_terms(work: Path, piece: Piece, terms: Terms, to: Path) -> None:
    """Write the terms of a piece's pairs whose captions stand beside several pictures."""
    columns = scored_columns(work, piece, ("plain_images", "duplicate"))
    rows, values = np.empty(0, np.int64), np.empty(0, np.int64)
    if "log_odds" in columns:
        rows, values = terms(columns)
    table = pq.read_table(work / "rows" / f"{piece.name}.parquet", columns=["plain_code"])
    codes = table["plain_code"].to_numpy()[rows]
    write_piece(to, pa.table([codes, values], schema=_TERMS), {"pairs": len(rows)})


def write_log_bayes(
    rows: Sequence[Path], terms: Sequence[Path], to: Path, count: int, memory: int
) -> npt.NDArray[np.float64]:
    """Write log B of each pair's caption as the column ``log_bayes``, NaN where it stands beside one picture.

    Args:
        rows: pieces of all pairs.
        terms: pieces of terms.
        to: folder of the columns.
        count: number of pairs.
        memory: bytes that the join may take.

    Returns:
        log B of at most :data:`MOST` captions, chosen by their code.
    """
    with database(to / "spill-groups", memory) as connection:
        connection.execute(f"CREATE VIEW rows AS SELECT * FROM {parquet(list(rows))}")
        connection.execute(
            f"CREATE TABLE captions AS SELECT plain_code, sum(term)::DOUBLE / {FIXED} AS log_bayes "
            f"FROM {parquet(list(terms))} GROUP BY plain_code"
        )
        query = (
            "SELECT coalesce(log_bayes, 'nan'::DOUBLE) AS log_bayes FROM rows "
            "LEFT JOIN captions ON captions.plain_code = rows.plain_code AND problem IS NULL ORDER BY key"
        )
        write_columns(to, {"log_bayes": "<f8"}, count, stream(connection, query))
        query = f"SELECT log_bayes FROM captions ORDER BY plain_code LIMIT {MOST}"
        found = [batch["log_bayes"].to_numpy() for batch in stream(connection, query)]
    return np.concatenate([np.empty(0), *found])


def single_log_odds(
    work: Path, pieces: Sequence[Piece], seed: int, progress: Callable[[int], None]
) -> npt.NDArray[np.float64]:
    """Return the log odds of at most :data:`MOST` pairs whose caption stands beside one picture, in order."""
    chosen = Smallest(MOST)
    for piece in pieces:
        columns = scored_columns(work, piece, ("plain_images",))
        if "log_odds" in columns:
            single = np.flatnonzero((columns["plain_images"] == 1) & ~np.isnan(columns["log_odds"]))
            numbers = single + piece.start
            chosen.add(mixed(numbers.astype(np.uint64) ^ np.uint64(seed)), numbers)
        progress(piece.pairs)
    numbers = chosen.numbers()
    found = []
    for piece in pieces:
        first, last = np.searchsorted(numbers, [piece.start, piece.rows.stop])
        if last > first:
            odds = scored_columns(work, piece, ())["log_odds"]
            found.append(odds[numbers[first:last] - piece.start].astype(np.float64))
    return np.concatenate([np.empty(0), *found])
