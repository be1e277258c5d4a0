"""Pairs whose caption is replaced by a better one, the given one kept beside it."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from robustcmr.errors import DataError

REPAIRABLE = ("parquet", "csv", "jsonl", "hf")
"""Formats in which a row can hold the caption that was given and how sure the other one is."""

GIVEN, SURE = "original_caption", "repair_probability"
"""Columns that repaired pairs get; null for others."""

Repairs = Mapping[str, tuple[str, float]]
"""Better caption and its probability by the id of the pair."""


def with_repairs(schema: pa.Schema) -> pa.Schema:
    """Return the columns of pairs of which some are repaired.

    Raises:
        DataError: the source has a column of that name.
    """
    for name in (GIVEN, SURE):
        if name in schema.names:
            raise DataError(
                f"the source has a column {name} already, so it was repaired before; rename that column, or "
                "leave --repair out"
            )
    return schema.append(pa.field(GIVEN, pa.string())).append(pa.field(SURE, pa.float32()))


def repaired(batch: pa.RecordBatch, repairs: Repairs, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with the better captions in place, in the columns of :func:`with_repairs`."""
    better = [repairs.get(key) for key in batch.column("id").to_pylist()]
    given = batch.column("caption").to_pylist()
    captions = [old if found is None else found[0] for old, found in zip(given, better, strict=True)]
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns["caption"] = pa.array(captions, pa.string())
    columns[GIVEN] = pa.array(
        [None if found is None else old for old, found in zip(given, better, strict=True)], pa.string()
    )
    columns[SURE] = pa.array([None if found is None else found[1] for found in better], pa.float32())
    return pa.RecordBatch.from_arrays([columns[field.name] for field in schema], schema=schema)
