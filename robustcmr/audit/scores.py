"""Score a piece of pairs by the vectors of both sides: a pure map over pairs, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit.columns import read_column
from robustcmr.audit.gather import Take, gather
from robustcmr.audit.parts import Piece, write_piece
from robustcmr.types import FloatArray, IntArray

BLOCK_BYTES = 64 * 2**20
"""Bytes of the vectors of a side that are in memory at once."""

IMAGE_VECTOR, TEXT_VECTOR = "image_vector", "text_vector"
"""Columns with the code of a vector's problem in :data:`robustcmr.audit.gather.BAD`; 0 for none."""

Score = Callable[[FloatArray, FloatArray, IntArray], Mapping[str, FloatArray]]
"""Scores pairs: image vectors (n, D), text vectors (n, D), codes of pictures (n,) -> columns (n,)."""


def blocks(image_codes: IntArray, at_most: int) -> Iterator[slice]:
    """Cut pairs in order into blocks, between two pictures where there is such a place."""
    ends = np.flatnonzero(image_codes[1:] != image_codes[:-1]) + 1
    start = 0
    while start < len(image_codes):
        end = start + at_most
        if end < len(image_codes):
            before = int(np.searchsorted(ends, end, side="right"))
            if before and ends[before - 1] > start:
                end = int(ends[before - 1])
        yield slice(start, min(end, len(image_codes)))
        start = end


def usable(rows: pa.Table, columns: Path, piece: Piece) -> npt.NDArray[np.bool_]:
    """Return which pairs of a piece are free of problems, (n,)."""
    sound = rows["problem"].is_null().to_numpy()
    return np.asarray(sound & (read_column(columns, "repeated_id", piece.rows) == 0))


def score_piece(
    rows: Path, columns: Path, piece: Piece, images: Take, texts: Take, width: int, score: Score, to: Path
) -> None:
    """Score the pairs of a piece and write the columns as a file of the same rows, NaN where not scored.

    Args:
        rows: file of the piece.
        columns: folder with the positions of the vectors.
        piece: which.
        images: reads image vectors by position.
        texts: reads text vectors by position.
        width: numbers a vector.
        score: scores pairs.
        to: file to write, atomically.
    """
    table = pq.read_table(rows, columns=["image_code", "problem"])
    at = [read_column(columns, name, piece.rows) for name in ("image_at", "text_at")]
    codes = table["image_code"].to_numpy().view(np.int64)
    chosen = np.flatnonzero(usable(table, columns, piece))
    bad = np.zeros((2, len(table)), np.uint8)
    found: dict[str, FloatArray] = {}
    for block in blocks(codes[chosen], max(1, BLOCK_BYTES // (4 * width))):
        pairs = chosen[block]
        image, bad[0, pairs] = gather(images, at[0][pairs])
        text, bad[1, pairs] = gather(texts, at[1][pairs])
        good = (bad[:, pairs] == 0).all(0)
        if not good.all():
            image, text, pairs = image[good], text[good], pairs[good]
        if not len(pairs):
            continue
        for name, values in score(image, text, codes[pairs]).items():
            if name not in found:
                found[name] = np.full(len(table), np.nan, np.float32)
            found[name][pairs] = values
    arrays: dict[str, Any] = {IMAGE_VECTOR: bad[0], TEXT_VECTOR: bad[1], **found}
    write_piece(to, pa.table(arrays), {"pairs": len(table)})
