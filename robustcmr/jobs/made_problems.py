"""Pairs of a source with the problems that came up when their vectors were made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robustcmr.errors import DataError
from robustcmr.jobs.made_vectors import PROBLEMS
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import PAIRS, Shard, Source
from robustcmr.sources.vector_keys import in_words
from robustcmr.types import IntArray

_PARTS = 1 << 20  # captions of a row, at most


@dataclass(frozen=True)
class PairsWithProblems:
    """Reads pairs as :func:`robustcmr.sources.pairs.pairs` does; may be sent to another process.

    Attributes:
        folder: vectors that :func:`robustcmr.jobs.make_vectors.make_vectors` made of this very source.
    """

    folder: Path

    def __call__(
        self,
        source: Source,
        shard: Shard,
        start: int = 0,
        where: str | None = None,
        need_pictures: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the pairs of a shard; one without vectors says why, such as ``unreadable picture: ...``.

        Raises:
            UserError: the source cannot be read.
            DataError: the folder is damaged.
        """
        keys, words = self._problems(shard.number)
        column = PAIRS.get_field_index("problem")
        for batch in pairs(source, shard, start, where, need_pictures):
            if len(keys):
                wanted = _keys(batch)
                places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
                found = words.take(pa.array(places, mask=keys[places] != wanted))
                batch = batch.set_column(column, PAIRS.field(column), pc.coalesce(batch["problem"], found))
            yield batch

    def _problems(self, shard: int) -> tuple[IntArray, pa.Array]:
        """Ascending keys of the pairs of a shard that have a problem, and the problems."""
        folder = self.folder / PROBLEMS
        if not folder.is_dir():
            return np.empty(0, np.int64), pa.array([], pa.string())
        try:
            files = sorted(folder.glob(f"{PROBLEMS}_*.parquet"))
            columns = ["row", "part", "problem"]
            tables = [pq.read_table(path, columns=columns, filters=[("shard", "=", shard)]) for path in files]
            table = pa.concat_tables(tables)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"cannot read {folder}: {in_words(error)}; make the vectors again") from error
        keys = _keys(table)
        order = np.argsort(keys)
        return keys[order], table["problem"].combine_chunks().take(pa.array(order))


def _keys(table: pa.Table | pa.RecordBatch) -> IntArray:
    """A number for each pair of a shard."""
    keys: IntArray = table["row"].to_numpy() * _PARTS + table["part"].to_numpy()
    return keys
