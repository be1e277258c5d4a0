"""Tasks of shards and their pieces of rows: the checkpoints of an audit, and the order of its pairs.

A task is a run of shards that one process reads; it writes its pairs as pieces, a parquet file each. Where a
piece ends depends on the pairs alone, so that an audit that was killed goes on with the same pieces.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robustcmr.errors import DataError
from robustcmr.files import atomic_file
from robustcmr.sources.records import Shard

PIECE = 200_000
"""Pairs of a piece, at most; one row with more captions stays whole."""

TASK_BYTES = 64 * 2**20
"""Bytes of the shards of a task, at most, where their rows are not known; one shard is never split."""

_ABOUT = b"robustcmr"
_INDEX, _PIECE = 24, 20  # bits of a key for the row of a piece and for the piece of a task


@dataclass(frozen=True)
class Task:
    """Shards that are read together, in order, by one process.

    Attributes:
        number: from 0.
        shards: their numbers.
    """

    number: int
    shards: tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """A finished piece of a task.

    Attributes:
        task: number of its task.
        number: within the task, from 0.
        pairs: number of pairs.
        start: number of pairs of all pieces before it.
    """

    task: int
    number: int
    pairs: int
    start: int

    @property
    def name(self) -> str:
        """Name of its files, without ending."""
        return piece_name(self.task, self.number)

    @property
    def rows(self) -> slice:
        """Its pairs among all pairs."""
        return slice(self.start, self.start + self.pairs)

    @property
    def first_key(self) -> int:
        """Key of its first pair; the others follow."""
        return first_key(self.task, self.number)


@dataclass(frozen=True)
class Reached:
    """How far a task has come.

    Attributes:
        pieces: finished.
        pairs: in them.
        shard: number of the shard that comes next.
        row: of that shard.
        done: whether nothing comes.
    """

    pieces: int
    pairs: int
    shard: int
    row: int
    done: bool


def piece_name(task: int, number: int) -> str:
    """Return the name of a piece's files, without ending; names sort as the pairs do."""
    return f"{task:06d}-{number:05d}"


def first_key(task: int, number: int) -> int:
    """Return the key of a piece's first pair: an int64 that orders all pairs of a source."""
    return (task << (_INDEX + _PIECE)) + (number << _INDEX)


def plan_tasks(shards: Sequence[Shard], piece: int = PIECE) -> tuple[Task, ...]:
    """Group shards in order: together about a piece of rows, or 64 MiB where rows are not known."""
    tasks: list[Task] = []
    group: list[int] = []
    share = 0.0
    for shard in shards:
        part = shard.size / TASK_BYTES if shard.rows is None else shard.rows / piece
        if group and share + part > 1:
            tasks.append(Task(len(tasks), tuple(group)))
            group, share = [], 0.0
        group.append(shard.number)
        share += part
    if group:
        tasks.append(Task(len(tasks), tuple(group)))
    return tuple(tasks)


def cut(table: pa.Table, at_most: int) -> int | None:
    """Return where to end a piece: before a new row, and between two pictures where there is such a place.

    Args:
        table: pairs in order, more than ``at_most`` unless they are the last.
        at_most: pairs of a piece, >= 1.

    Returns:
        Number of pairs of the piece; None if more pairs are needed to tell.
    """
    if len(table) <= at_most:
        return None
    shard, row = (table[name].to_numpy() for name in ("shard", "row"))
    new = np.flatnonzero((shard[1:] != shard[:-1]) | (row[1:] != row[:-1])) + 1  # pairs that begin a row
    if not len(new):
        return None
    within = new[new <= at_most]
    if not len(within):
        return int(new[0])
    images = table["image"].slice(0, at_most + 1).combine_chunks()
    other = pc.fill_null(pc.not_equal(images[1:], images[:-1]), True).to_numpy(zero_copy_only=False)
    between = within[other[within - 1]]
    return int(between[-1] if len(between) else within[-1])


def write_piece(path: Path, table: pa.Table, about: dict[str, Any]) -> None:
    """Write a piece atomically, with plain values about it in the metadata of its schema."""
    metadata = {**(table.schema.metadata or {}), _ABOUT: json.dumps(about).encode()}
    with atomic_file(path) as file:
        pq.write_table(table.replace_schema_metadata(metadata), file, compression="zstd", compression_level=1)


def read_about(path: Path) -> dict[str, Any]:
    """Return the values that :func:`write_piece` wrote about a piece.

    Raises:
        DataError: the piece is missing or damaged.
    """
    try:
        about = json.loads((pq.read_schema(path).metadata or {})[_ABOUT])
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DataError(
            f"the unfinished work {path} is damaged; begin the audit again with --restart"
        ) from error
    return dict(about)


def reached(folder: Path, task: Task) -> Reached:
    """Return how far the pieces in a folder have brought a task."""
    number, pairs, about = 0, 0, None
    while (path := folder / f"{piece_name(task.number, number)}.parquet").exists():
        about = read_about(path)
        pairs += int(about["pairs"])
        number += 1
    if about is None:
        return Reached(0, 0, task.shards[0], 0, False)
    return Reached(number, pairs, about["shard"], about["row"], about["done"])


def all_pieces(folder: Path, tasks: Sequence[Task]) -> tuple[Piece, ...]:
    """Return the pieces of finished tasks in order."""
    pieces: list[Piece] = []
    start = 0
    for task in tasks:
        number, done = 0, False
        while not done:
            about = read_about(folder / f"{piece_name(task.number, number)}.parquet")
            pieces.append(Piece(task.number, number, about["pairs"], start))
            start += about["pairs"]
            number, done = number + 1, about["done"]
    return tuple(pieces)


def numbers_of(pieces: Sequence[Piece], keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the number of each pair among all pairs, from 0, by its key."""
    firsts = np.array([piece.first_key for piece in pieces], np.int64)
    starts = np.array([piece.start for piece in pieces], np.int64)
    at = np.searchsorted(firsts, keys, side="right") - 1
    return starts[at] + (keys - firsts[at])
