"""All pairs of a source, read once into columns: those that can be trained on, and why others cannot."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from robustcmr.errors import DataError
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import PAIRS, Source
from robustcmr.sources.shards import below_root
from robustcmr.types import IntArray

logger = logging.getLogger("robustcmr")

_NAMED = 4  # kinds of problems in a message

BoolArray = npt.NDArray[np.bool_]


@dataclass
class SourceRows:
    """The pairs of a source in its order, with those that are left out.

    Attributes:
        source: where they come from.
        table: (n,) by the schema ``PAIRS``, texts in large buffers.
        kept: (n,) bool, pairs that nothing has been found against so far.
        left_out: pairs by kind of problem, and the first of each, such as ``web/0.parquet row 3``.
    """

    source: Source
    table: pa.Table
    kept: BoolArray
    left_out: dict[str, tuple[int, str]] = field(default_factory=dict)

    def numbers(self, name: str) -> IntArray:
        """Return a column of numbers, (n,) int64."""
        return np.asarray(self.table[name].to_numpy()).astype(np.int64, copy=False)

    def leave_out(self, wrong: BoolArray, kind: str) -> None:
        """Leave out the pairs (n,) that are still kept and have a problem."""
        found = np.flatnonzero(wrong & self.kept)
        if found.size:
            self.left_out[kind] = (len(found), self._place(int(found[0])))
            self.kept[found] = False

    def _place(self, pair: int) -> str:
        shard = self.source.shards[self.table["shard"][pair].as_py()]
        return f"{below_root(self.source, shard)} row {self.table['row'][pair].as_py()}"

    def report(self) -> None:
        """Warn of the pairs that are left out.

        Raises:
            DataError: no pair is left.
        """
        if not self.left_out:
            if len(self.table):
                return
            raise DataError(f"{self.source.root} has no pairs; expected a row for each, or check data.where")
        kinds = sorted(self.left_out.items(), key=lambda item: -item[1][0])
        named = "; ".join(f"{kind}: {count:,}, first {place}" for kind, (count, place) in kinds[:_NAMED])
        more = "; ..." if len(kinds) > _NAMED else ""
        count = len(self.table) - int(self.kept.sum())
        said = f"{count:,} of {len(self.table):,} pairs of {self.source.root}"
        if not self.kept.any():
            raise DataError(
                f"all {len(self.table):,} pairs of {self.source.root} have problems ({named}{more}); see "
                "'robustcmr data check' on it"
            )
        logger.warning("%s are left out (%s%s)", said, named, more)


def read_rows(source: Source, where: str | None, need_pictures: bool) -> SourceRows:
    """Read all pairs of a source.

    Args:
        source: the pairs.
        where: SQL condition on its rows; all by default.
        need_pictures: whether pairs without a picture file are left out.

    Raises:
        DataError: the source cannot be read.
        ConfigError: the condition cannot be used.
    """
    large = pa.schema([one.with_type(pa.large_string()) if one.type == pa.string() else one for one in PAIRS])

    def batches() -> Iterator[pa.RecordBatch]:
        for shard in source.shards:
            for batch in pairs(source, shard, 0, where, need_pictures):
                yield batch.cast(large)

    table = pa.Table.from_batches(batches(), large).combine_chunks()
    rows = SourceRows(source, table, np.ones(len(table), dtype=np.bool_))
    kinds = pc.list_element(pc.split_pattern(table["problem"], ": ", max_splits=1), 0)
    for kind in pc.unique(kinds).drop_null().to_pylist():
        rows.leave_out(np.asarray(pc.equal(kinds, kind).fill_null(False)), kind)
    return rows


def single(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece."""
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)
