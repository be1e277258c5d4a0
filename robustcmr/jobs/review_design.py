"""Draw the sample of a review from an audit, and estimate the share of wrong pairs from its labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit.design import allocate, draw, make_design
from robustcmr.audit.estimates import noise_rate
from robustcmr.audit.labels import Label
from robustcmr.errors import DataError
from robustcmr.files import reason
from robustcmr.review.sample import Drawn, Request, Sample, in_order
from robustcmr.review.state import Estimate, Interval
from robustcmr.runs.audits import AuditFolder
from robustcmr.types import FloatArray

_ROWS = 200_000  # that are read at a time


def draw_sample(folder: AuditFolder, request: Request) -> Sample:
    """Draw pairs by :mod:`robustcmr.audit.design` and bring them in the order they are judged in.

    Raises:
        DataError: ``pairs.parquet`` is damaged, or no pair has a score.
    """
    design = make_design(_scores(folder), _scores(folder))
    sizes = allocate(design, request.labels)
    if request.per_stratum is not None:
        sizes = np.minimum(design.counts, np.maximum(sizes, request.per_stratum))
    numbers, strata, chances = draw(_scores(folder), design, sizes, request.seed)
    named = _named(folder, numbers)
    pairs = [
        Drawn(named[number][0], stratum, chance, named[number][1])
        for number, stratum, chance in zip(numbers.tolist(), strata.tolist(), chances.tolist(), strict=True)
    ]
    return Sample(request, design, tuple(in_order(pairs, request.seed)))


def estimator(sample: Sample) -> Estimate:
    """Return the estimate of the share of wrong pairs from settled labels of a sample."""

    def estimate(labels: Sequence[Label]) -> Interval | None:
        try:
            found = noise_rate(sample.labelled(labels), sample.design.counts, sample.design.means)
        except DataError:  # a stratum has no label yet
            return None
        return Interval(found.value, found.low, found.high)

    return estimate


def _scores(folder: AuditFolder) -> Iterator[FloatArray]:
    for batch in _batches(folder, ["score"]):
        yield batch.column("score").to_numpy(zero_copy_only=False).astype(np.float32)


def _named(folder: AuditFolder, numbers: Any) -> dict[int, tuple[str, float]]:
    """Ids and scores of pairs by their number."""
    wanted = np.sort(numbers)
    found: dict[int, tuple[str, float]] = {}
    start = 0
    for batch in _batches(folder, ["id", "score"]):
        here = wanted[(wanted >= start) & (wanted < start + len(batch))]
        taken = batch.take(pa.array(here - start)).to_pylist()
        found |= {int(n): (row["id"], float(row["score"])) for n, row in zip(here, taken, strict=True)}
        start += len(batch)
    return found


def _batches(folder: AuditFolder, columns: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(folder.pairs) as file:
            yield from file.iter_batches(_ROWS, columns=columns)
    except (OSError, pa.ArrowException) as error:
        why = reason(error) if isinstance(error, OSError) else str(error).splitlines()[0]
        raise DataError(f"cannot read {folder.pairs}: {why}; audit the pairs again") from error
