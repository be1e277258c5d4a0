"""How much a source holds, counted only where it is needed, and a sample of its pairs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import duckdb
import numpy as np
import pyarrow as pa

from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Source
from robustcmr.sources.vector_keys import Key

SAMPLE, SAMPLED_SHARDS = 4096, 16
"""Pairs of a sample, and files that they are taken from."""


class Counts:
    """How many rows, pairs and distinct images a source has, counted when they are first asked for.

    Args:
        source: read through where its files do not state their rows.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """Rows of each shard."""
        first = self._source.schema().names[:1]
        return tuple(
            sum(map(len, self._source.narrow(shard, 0, first))) if shard.rows is None else shard.rows
            for shard in self._source.shards
        )

    @property
    def starts(self) -> tuple[int, ...]:
        """Number of the first row of each shard."""
        return tuple(int(start) for start in np.cumsum([0, *self.rows])[:-1])

    @cached_property
    def pairs_and_images(self) -> tuple[int, int]:
        """Pairs, and distinct images among them."""
        total = 0

        def images() -> Iterator[pa.RecordBatch]:
            nonlocal total
            for shard in self._source.shards:
                for batch in pairs(self._source, shard):
                    total += len(batch)
                    yield batch.select(["image"])

        reader = pa.RecordBatchReader.from_batches(pa.schema([("image", pa.string())]), images())
        with duckdb.connect(config={"memory_limit": "1GB"}) as connection:
            connection.register("images", reader)
            query = "select count(*) from (select distinct image from images where image is not null)"
            ((distinct,),) = connection.execute(query).fetchall()
        return total, int(distinct)


def sample_pairs(source: Source) -> dict[Key, list[str | None]]:
    """Return the keys of some pairs, from the beginnings of shards all over the source."""
    numbers = np.unique(np.linspace(0, len(source.shards) - 1, SAMPLED_SHARDS).astype(int))
    each = -(-SAMPLE // len(numbers))
    sample: dict[Key, list[str | None]] = {"id": [], "image": [], "caption": []}
    for number in numbers.tolist():
        left = each
        for batch in pairs(source, source.shards[number]):
            for key, values in sample.items():
                values += batch.column(key)[:left].to_pylist()
            left -= min(left, len(batch))
            if not left:
                break
    return sample
