"""What the literature reports, to be set beside one's own runs; nothing of it was measured here."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from robustcmr.errors import ComparisonError

FILE = Path(__file__).with_name("published.csv")

MEASURES = (
    *("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum"),
    *("map_i2t", "map_t2i", "map"),
)


@dataclass(frozen=True)
class PublishedRow:
    """One row of somebody's table.

    Attributes:
        method: as its authors call it.
        backbone: matcher and, with labels, features.
        data: name of the data set, as ``--data`` takes it, or ``coco`` for its 1K test.
        ratio: share of wrong pairs or labels, in [0, 1]; None where the noise is the data's own.
        protocol: as far as it is known; ``unknown`` otherwise, ``real`` where the noise is the data's own.
        n_models: how many models' scores were averaged.
        measures: percentages by name; those that are known.
        source: where it was reported.
    """

    method: str
    backbone: str
    data: str
    ratio: float | None
    protocol: str
    n_models: int
    measures: Mapping[str, float]
    source: str


def published_rows(data: str | None = None) -> list[PublishedRow]:
    """Rows of the literature.

    Args:
        data: of which data set; None for all.

    Raises:
        ComparisonError: none are known of such data.
    """
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = [_row(values) for values in csv.DictReader(file)]
    known = list(dict.fromkeys(row.data for row in rows))
    if data is not None and data not in known:
        near = difflib.get_close_matches(data, known, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ComparisonError(
            f"no published figures of '{data}' are known{hint} (there are: {', '.join(known)})"
        )
    return [row for row in rows if data is None or row.data == data]


def _row(values: Mapping[str, str]) -> PublishedRow:
    return PublishedRow(
        method=values["method"],
        backbone=values["backbone"],
        data=values["data"],
        ratio=float(values["ratio"]) if values["ratio"] else None,
        protocol=values["protocol"],
        n_models=int(values["n_models"]),
        measures=MappingProxyType({name: float(values[name]) for name in MEASURES if values[name]}),
        source=values["source"],
    )
