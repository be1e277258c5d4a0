"""The rows of scripts/results/leaderboard.csv: each is a finished run of the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from leaderboard_plan import Block, options_hash, shorter
from run_table import RESULTS, Row, rounded

from robustcmr.runs.read import SavedRun, find_runs
from robustcmr.runs.single import single_splits

CSV = RESULTS / "leaderboard.csv"
MEASURES = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum")
SAME = ("data", "matcher", "method", "protocol", "noise", "seed")
"""Columns by which rows are of the same planned run."""


def present_hash(row: Row) -> str:
    """The hash that a run of this row would have now."""
    noise = (row["protocol"], float(row["noise"]))
    block = Block(row["data"], 0, row["matcher"], (noise,), int(row["seed"]), (row["method"],))
    return options_hash(block.config(noise, row["method"]))


def key_of(row: Row) -> tuple[str, ...]:
    """Which planned run a row is of."""
    return tuple(str(row[name]) for name in SAME)


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Rows sorted by their run, new ones in place of old ones of the same run."""
    by_key = {key_of(row): row for row in [*old, *new]}
    return [by_key[key] for key in sorted(by_key)]


def row_of(run: SavedRun, data: str) -> Row:
    """The row of a finished run."""
    results, config = run.results, run.config
    select = results["selection_split"]
    ensemble = results["splits"][select] if results["n_models"] > 1 else {}
    single = single_splits(results).get(select) or results["splits"][select]
    division = results.get("findings", {}).get("division", {})
    changes = shorter(results["method"], data)
    rate = results.get("findings", {}).get("noise_rate")
    return {
        "data": data,
        "fingerprint": results["data_fingerprint"][:16],
        "matcher": results["matcher"],
        "method": results["method"],
        "changes": " ".join(f"{key}={value}" for key, value in changes.items()),
        "protocol": config["noise"]["protocol"],
        "noise": f"{config['noise']['ratio']:g}",
        "noise_hash": str(results["noise_hash"])[:16],
        "seed": str(results["seed"]),
        "epochs": results["epochs"],
        "best_epoch": results["best_epoch"],
        "split": select,
        "n_models": results["n_models"],
        **{f"single_{key}": round(single[key], 2) for key in MEASURES},
        **{f"ensemble_{key}": round(ensemble[key], 2) if ensemble else "" for key in MEASURES},
        **rounded(division, ("auroc", "average_precision", "calibration_error")),
        "noise_rate": "" if rate is None else round(rate, 4),
        "seconds": results["seconds"],
        "threads": run.environment.get("torch_threads", ""),
        "torch": run.environment.get("packages", {}).get("torch", ""),
        "cpu": run.environment.get("processor", ""),
        "robustcmr": run.version,
        "options": options_hash(config),
    }


def collect(folder: Path, data: Sequence[str]) -> list[Row]:
    """Rows of all finished runs in the sweeps of a folder."""
    rows = []
    for name in data:
        for sweep in sorted(folder.glob(f"{name}-*")):
            if (sweep / "trials").is_dir():
                rows += [row_of(run, name) for run in find_runs([sweep / "trials"]).finished]
    return rows
