"""What every source of pairs is: shards that are read in order, and written back in the same format.

A shard is one file of a source. Its rows come as Arrow record batches of all its own columns, in the order of
the file; :mod:`robustcmr.sources.pairs` turns them into pairs, which look the same whatever they came from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

PAIRS = pa.schema(
    [
        ("id", pa.string()),  # of the pair, kept from end to end
        ("image", pa.string()),  # equal for pairs of the same picture: path, URL, key or hash of its bytes
        ("caption", pa.string()),
        ("shard", pa.int32()),  # number of its shard
        ("row", pa.int64()),  # of the shard, from 0
        ("part", pa.int32()),  # which caption of that row, from 0
        ("problem", pa.string()),  # why the pair is set aside; null where it is sound
    ]
)
"""Columns of a batch of pairs."""

PROBLEM = "__problem__"
"""Column of :meth:`Source.batches` that says why a row cannot be parsed."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold the pair; None where the format itself says, or there is none."""

    image: str | None = None
    text: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class Shard:
    """A file of a source.

    Attributes:
        number: from 0, in the order of the source.
        path: the file.
        rows: number of rows, where the file states it without being read through; else None.
        size: bytes.
    """

    number: int
    path: Path
    rows: int | None
    size: int


@dataclass(frozen=True)
class Picture:
    """The file of a picture, as bytes, or why there is none.

    Attributes:
        row: of the shard.
        data: the encoded file (JPEG, PNG, ...); None where it cannot be read.
        problem: why, in a few words; None where it can.
    """

    row: int
    data: bytes | None
    problem: str | None = None


@dataclass(frozen=True)
class Written:
    """What was written, or would be.

    Attributes:
        files: in order.
        rows: written.
        of: rows there were.
    """

    files: tuple[Path, ...]
    rows: int
    of: int


@dataclass(frozen=True)
class Source:
    """Somebody's own pairs, opened but not read. One subclass a format.

    Attributes:
        root: the folder that holds all shards, or the file.
        shards: in order; the order of their names unless the format states another.
        columns: which columns hold image, caption and id.
        says: what was guessed or made, one sentence each, for the user to read.
    """

    root: Path
    shards: tuple[Shard, ...]
    columns: Columns = Columns()
    says: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    format: ClassVar[str]
    """Name of the format, such as ``parquet``."""

    def schema(self) -> pa.Schema:
        """Return the columns of :meth:`batches`, with the metadata of the first shard."""
        raise NotImplementedError

    def batches(self, shard: Shard, start: int = 0) -> Iterator[pa.RecordBatch]:
        """Read rows of a shard from row ``start`` on, in order and in bounded memory.

        A row that cannot be parsed is still a row: it comes as one of nulls, with the reason in the column
        ``__problem__``, which is absent where no row of the batch has one.

        Raises:
            DataError: the shard cannot be opened or has other columns than the first.
        """
        raise NotImplementedError

    def narrow(self, shard: Shard, start: int, names: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Read as :meth:`batches` does, but only the columns named (and ``__problem__``).

        Formats that store column by column read no others.
        """
        for batch in self.batches(shard, start):
            kept = [name for name in batch.schema.names if name in names or name == PROBLEM]
            yield batch.select(kept)

    def picture_folder(self, shard: Shard) -> Path | None:
        """Return the folder that names in the image column are relative to; None where they are no files."""
        del shard
        return None

    def pictures(self, shard: Shard, rows: npt.NDArray[np.int64] | None = None) -> Iterator[Picture]:
        """Read the picture files of ascending rows, of all rows where None, in order.

        Pictures that are only known by URL are reported with a problem; nothing is fetched.
        """
        raise NotImplementedError

    def write(self, shard: Shard, keep: npt.NDArray[np.bool_], to: Path) -> tuple[Path, ...]:
        """Write the rows of a shard to keep, in its own format, schema, metadata and compression.

        Args:
            shard: of this source.
            keep: (rows,) which rows.
            to: folder of the copy; files get the names that they have below ``root``.

        Returns:
            The files written, atomically each.
        """
        raise NotImplementedError

    def finish(self, to: Path) -> tuple[Path, ...]:
        """Write what belongs to the source as a whole beside its shards, such as ``dataset_info.json``."""
        del to
        return ()
