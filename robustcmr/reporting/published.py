"""Published results of the literature, to compare runs with; none was measured here."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from robustcmr.errors import ComparisonError
from robustcmr.plugins import did_you_mean
from robustcmr.reporting.agreement import Setting
from robustcmr.reporting.compared import SHOWN, ComparedRow

FILE = Path(__file__).with_name("published.csv")


def published_rows(data: str | None = None) -> list[ComparedRow]:
    """Return published results as rows of a comparison, their backbone in brackets behind the method.

    Args:
        data: a data set as ``--data`` takes it, or ``coco`` for its 1K test; None for all.

    Raises:
        ComparisonError: none are known of such data.
    """
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = [_row(values) for values in csv.DictReader(file)]
    known = list(dict.fromkeys(row.setting.data for row in rows))
    if data is not None and data not in known:
        raise ComparisonError(
            f"no published figures of '{data}' are known{did_you_mean(data, known)} "
            f"(there are: {', '.join(known)})"
        )
    return [row for row in rows if data in (None, row.setting.data)]


def _row(values: Mapping[str, str]) -> ComparedRow:
    means = {name: float(values[name]) for track in SHOWN.values() for name in track if values[name]}
    track = "labels" if any(name.startswith("map") for name in means) else "pairs"
    headline = SHOWN[track][-1]
    protocol = "protocol unknown" if values["protocol"] == "unknown" else values["protocol"]
    backbone = "" if values["backbone"] == "unknown" else f" ({values['backbone']})"
    return ComparedRow(
        method=f"{values['method']}{backbone}",
        setting=Setting(track, values["data"], "", "", "", None, protocol),
        ratio=float(values["ratio"]) if values["ratio"] else None,
        n_models=int(values["n_models"]),
        headline=headline,
        seeds=(),
        values=(means[headline],) if headline in means else (),
        means=means,
        stds={},
        marks=("not measured here",),
        source=values["source"],
    )
