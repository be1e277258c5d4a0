"""The pairs of an audit with their scores, decisions and reasons, written a piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit.decide import ASIDE, NAMES, decide
from robustcmr.audit.groups import scored_columns
from robustcmr.audit.joins import DUPLICATES, FACTS, duplicates_of
from robustcmr.audit.judging import PASTED, Columns
from robustcmr.audit.lists import ListWriter
from robustcmr.audit.near_pairs import NEAR, NEAR_PAIRS
from robustcmr.audit.parts import Piece
from robustcmr.audit.scores import IMAGE_VECTOR, TEXT_VECTOR
from robustcmr.audit.tally import Tally
from robustcmr.errors import DataError
from robustcmr.files import atomic_file
from robustcmr.types import FloatArray

_WORDS = pa.dictionary(pa.int32(), pa.string())

OUTPUT = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("caption", pa.string()),
        ("file", _WORDS),
        ("row", pa.int64()),
        ("part", pa.int32()),
        ("score", pa.float32()),
        ("p_mismatch", pa.float32()),
        ("p_low", pa.float32()),
        ("p_high", pa.float32()),
        ("decision", _WORDS),
        ("reason", _WORDS),
        ("duplicate_of", pa.string()),
        ("caption_count", pa.int32()),
        ("calibrated_by", _WORDS),
    ]
)
"""Columns of ``pairs.parquet``; numbers that are not known are null."""

Judge = Callable[[Columns], Mapping[str, FloatArray]]
"""Judges the pairs of a piece as :func:`robustcmr.audit.judging.judge` does."""


def write_output(
    pieces: Sequence[Piece],
    work: Path,
    to: Path,
    lists: Path,
    files: Sequence[str],
    judge: Judge,
    calibrated_by: str,
    progress: Callable[[int], None],
    strict: bool = False,
) -> tuple[Tally, bool]:
    """Write ``pairs.parquet`` and the lists of an audit whose pieces are all scored.

    Args:
        pieces: in order.
        work: folder with ``rows``, ``joins`` and ``scores``.
        to: the parquet file.
        lists: folder of the lists.
        files: name of each shard.
        judge: judges the pairs of a piece by its columns.
        calibrated_by: what the probabilities rest on.
        progress: called with the pairs of each piece.
        strict: whether to write nothing where a pair is set aside.

    Returns:
        The counts, and whether all ids are uids of DataComp.

    Raises:
        DataError: ``strict``, and a pair is set aside.
    """
    tally = Tally()
    with ExitStack() as stack:
        file = stack.enter_context(atomic_file(to))
        writer = stack.enter_context(pq.ParquetWriter(file, OUTPUT, compression="zstd", compression_level=3))
        names = ListWriter(lists, stack)
        for piece in pieces:
            table = pq.read_table(work / "rows" / f"{piece.name}.parquet")
            columns = scored_columns(work, piece, (*FACTS, NEAR, "log_bayes"))
            judged = judge(columns)
            bad = np.stack([columns[IMAGE_VECTOR], columns[TEXT_VECTOR]]).astype(np.uint8)
            problem, nothing = (table[name].combine_chunks() for name in ("problem", "nothing"))
            decision, reason = decide(
                problem,
                columns["repeated_id"],
                bad,
                columns["duplicate"],
                columns[NEAR],
                nothing,
                judged["p_low"],
                judged["p_high"],
                judged["pasted"] > PASTED,
            )
            firsts = _firsts(work / "joins", piece)
            arrays = {
                **{name: table[name] for name in ("id", "image", "caption", "row", "part")},
                "file": pa.DictionaryArray.from_arrays(
                    table["shard"].combine_chunks(), pa.array(files, pa.string())
                ),
                **{name: _known(judged[name]) for name in ("score", "p_mismatch", "p_low", "p_high")},
                "decision": pa.DictionaryArray.from_arrays(
                    pa.array(decision.astype(np.int32)), pa.array(NAMES)
                ),
                "reason": reason.dictionary_encode(),
                "duplicate_of": firsts,
                "caption_count": pa.array(columns["plain_pairs"].astype(np.int32)),
                "calibrated_by": pa.array([calibrated_by], pa.string())
                .dictionary_encode()
                .take(pa.array(np.zeros(len(table), np.int32))),
            }
            found = pa.table([arrays[name] for name in OUTPUT.names], schema=OUTPUT)
            writer.write_table(found, row_group_size=max(1, len(found)))
            names.add(found["id"].combine_chunks(), decision)
            tally.add(found.set_column(OUTPUT.get_field_index("reason"), "reason", reason), decision)
            progress(len(found))
        if strict and (problems := tally.problems()):
            count = tally.decisions[NAMES[ASIDE]]
            first = problems[0]
            raise DataError(
                f"{count:,} of {tally.pairs:,} pairs cannot be used, such as {first['examples'][0]}: "
                f"{first['problem']}; mend them, or leave --strict out to set them aside"
            )
    return tally, names.uids


def _firsts(joins: Path, piece: Piece) -> pa.Array:
    """Return the id of the first pair that each pair repeats, exactly or nearly; null for the others."""
    place = np.full(piece.pairs, -1, np.int64)
    ids: list[pa.Array] = []
    for table in (NEAR_PAIRS, DUPLICATES):  # an exact one is named rather than a near one
        rows, firsts = duplicates_of(joins / table, piece)
        place[rows] = np.arange(len(rows)) + sum(len(each) for each in ids)
        ids.append(firsts)
    return pa.concat_arrays(ids).take(pa.array(place, mask=place < 0))


def _known(values: FloatArray) -> pa.Array:
    """Return numbers with null for NaN."""
    return pa.array(values, mask=np.isnan(values))
