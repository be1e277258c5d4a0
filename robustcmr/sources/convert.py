"""Write chosen pairs of any source in another format: a row a pair, with all columns of the source."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from robustcmr.errors import ConfigError
from robustcmr.sources.chosen_pairs import Chosen, chosen_batches, holds_pictures, written_schema
from robustcmr.sources.json_lines import JsonLines
from robustcmr.sources.names import meant
from robustcmr.sources.records import Source, Written
from robustcmr.sources.repairs import Repairs, repaired, with_repairs

WRITERS = {
    "parquet": "table_writers",
    "hf": "table_writers",
    "csv": "text_writers",
    "jsonl": "text_writers",
    "webdataset": "tar_writers",
    "datacomp": "datacomp_writers",
}
"""Module of the writer of each format.

Each has ``writer(format, to, schema) -> PairWriter``, where ``schema`` is that of the batches to come: id,
image, caption and others.
"""

ALWAYS_PICTURES = ("webdataset",)
"""Formats that hold the file of each picture, also where the source only names it."""

NO_PICTURES = ("csv", "jsonl", "datacomp")
"""Formats that only name pictures."""


class PairWriter(Protocol):
    """Writes batches of pairs."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the next pairs."""

    def files(self) -> tuple[Path, ...]:
        """Return the files written, once all are complete."""


def convert(
    source: Source, chosen: Iterable[Chosen], to: Path, format: str, repairs: Repairs | None = None
) -> Written:
    """Write chosen pairs in a format, one row a pair.

    The columns are ``id``, ``image``, ``caption``, and all others of the source under their names. Pictures
    that the source holds are written with parquet and hf; those that it names are named as in the source.

    Args:
        source: that they are of.
        chosen: pairs, a shard at a time, in order.
        to: folder of the files, which appear when they are complete.
        format: one of :data:`WRITERS`.
        repairs: better captions, which get two columns more; None for pairs as they are.

    Returns:
        Files, and the number of pairs written, which is also that of those there were to write.

    Raises:
        ConfigError: there is no such format to write.
        DataError: the source cannot be read, or has columns that the format cannot hold.
        UserError: a file cannot be written.
    """
    if format not in WRITERS:
        near = meant(format, list(WRITERS))
        raise ConfigError(f"there is no format {format!r} to write{near}; choose one of {', '.join(WRITERS)}")
    if isinstance(source, JsonLines):
        source = source.surveyed()  # columns of later rows are written too
    pictures = format in ALWAYS_PICTURES or (format not in NO_PICTURES and holds_pictures(source))
    schema = written_schema(source, pictures)
    if repairs is not None:
        schema = with_repairs(schema)
    opened: AbstractContextManager[PairWriter] = import_module(f"robustcmr.sources.{WRITERS[format]}").writer(
        format, to, schema
    )
    rows = 0
    with opened as writer:
        for batch in chosen_batches(source, chosen, pictures):
            writer.write(batch if repairs is None else repaired(batch, repairs, schema))
            rows += len(batch)
    return Written(writer.files(), rows, rows)
