"""A comparison for programs: CSV with one line a row, and JSON with everything."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any

from noise_injection.formulas import neutral
from robustcmr.reporting.compared import SHOWN, ComparedRow, Comparison, Robustness
from robustcmr.reporting.comparison_tables import models, note


def to_csv(comparison: Comparison) -> str:
    """Write one line a row with full precision, means and deviations of every measure apart."""
    lines = to_rows(comparison)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: neutral(cell) if isinstance(cell, str) else cell for key, cell in line.items()}
        for line in lines
    )
    return file.getvalue()


def to_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the lines of :func:`to_csv` as plain values."""
    tracks = dict.fromkeys(row.setting.track for row in comparison.rows)
    measures = [name for track in tracks for name in SHOWN[track]]
    areas = {
        (entry.method, entry.n_models, entry.setting.clean): entry
        for entry in reversed(comparison.robustness)
        if len({other.setting for other in comparison.robustness}) == 1
    }
    return [
        _flat(row, comparison, measures, areas.get((row.method, row.n_models, row.setting.clean)))
        for row in comparison.rows
    ]


def _flat(
    row: ComparedRow, comparison: Comparison, measures: list[str], entry: Robustness | None
) -> dict[str, Any]:
    setting, difference = row.setting, row.difference
    seeds = None if difference is None else difference.over_seeds
    queries = None if difference is None else difference.over_queries
    values: dict[str, Any] = {
        "track": setting.track,
        "data": setting.data,
        "data_fingerprint": setting.fingerprint,
        "split": comparison.split,
        "noise_kind": setting.kind,
        "protocol": setting.protocol,
        "noise_ratio": row.ratio,
        "method": row.method,
        "models": models(row.n_models),
        "n_models": row.n_models,
        "measured_here": "no" if row.source else "yes",
        "n_seeds": len(row.seeds),
        "seeds": " ".join(map(str, row.seeds)),
        "rank": row.rank,
        "missing_runs": len(comparison.missing),
    }
    for name in measures:
        values[f"{name}_mean"], values[f"{name}_std"] = row.means.get(name), row.stds.get(name)
    return {
        **values,
        "robustness_area": getattr(entry, "area", None),
        "robustness_area_std": getattr(entry, "area_std", None),
        "reference": getattr(difference, "reference", None),
        "difference_seeds": getattr(seeds, "difference", None),
        "p_seeds": getattr(seeds, "p_value", None),
        "test_seeds": getattr(seeds, "test", None),
        "difference_queries": getattr(queries, "difference", None),
        "low_queries": getattr(queries, "low", None),
        "high_queries": getattr(queries, "high", None),
        "p_queries": getattr(queries, "p_value", None),
        "note": note(row),
        "runs": " ".join(map(str, row.runs)),
    }


def to_json(comparison: Comparison) -> str:
    """Write everything, for programs."""
    tree = dataclasses.asdict(comparison)
    for row, plain in zip(comparison.rows, tree["rows"], strict=True):
        plain.update(mean=row.mean, std=row.std, noise=row.noise, measured_here=row.source is None)
    tree |= {"complete": not comparison.missing, "missing": [str(run.path) for run in comparison.missing]}
    return json.dumps(tree, indent=2, default=str) + "\n"
