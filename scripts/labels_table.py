"""Methods for noisy class labels, over noise ratios and seeds, each an ordinary run folder.

    python scripts/labels_table.py --jobs 2                                   # embedded labelled scenes
    python scripts/labels_table.py --data labelled --data-root DIR --jobs 2   # files of your own
    python scripts/labels_table.py --ablation --jobs 2                        # one change of UOT-RCL a row

Finished runs are kept, so that it can be stopped and started again; a row of the CSV is a run. Rows of other
data sets stay in the CSV. Prints mean and standard deviation over seeds as Markdown.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

from finished_run import finished_run, write_rows

RESULTS = Path(__file__).parent / "results"
MEASURES = ("map", "map_i2t", "map_t2i", "map_at_50")
CORRECTION = ("given_accuracy", "corrected_accuracy", "repaired", "broken", "auroc", "calibration_error")
ROWS = {"cross entropy": "label_ce", "MRL": "mrl", "UOT-RCL": "uot_rcl"}
# one change at a time
ABLATION = {
    "UOT-RCL": {},
    "no semantic alignment": {"semantic": "false"},
    "no relation alignment": {"relation": "false"},
    "neither": {"semantic": "false", "relation": "false"},
    "alike trust": {"trust": "false"},
    "no neighbours": {"neighbour_share": "0"},
    "one rate of wrong labels": {"transitions": "common"},
    "rates of each class, less drawn to one": {"pseudo_counts": "20"},
    "given labels not weighed": {"transitions": "none"},
    "estimated prior": {"prior": "estimated"},
    "uniform prior": {"prior": "uniform"},
    "mass 0.95 from the start": {"mass_start": "0.95"},
    "mass up to 0.7": {"mass_end": "0.7"},
    "no momentum": {"momentum": "0"},
    "warm-up 5 epochs": {"warmup_epochs": "5"},
    "20 neighbours of half the say": {"neighbours": "20", "neighbour_share": "0.5"},
    "relation by cosines too": {"relation_cost": "both"},
    "relation weight 0.3": {"relation_weight": "0.3"},
    "contrast temperature 0.5": {"contrast_temperature": "0.5"},
    "contrast temperature 1": {"contrast_temperature": "1"},
}


def main() -> None:
    """Run what is missing, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", default="scenes-labels")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--rows", nargs="+", help="methods of the table, or changes of the ablation")
    parser.add_argument("--ratios", nargs="+", help="shares of wrong labels")
    parser.add_argument("--kind", default="symmetric", help="kind of noise")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--ablation", action="store_true", help="one change of UOT-RCL a row, on dev")
    parser.add_argument("--set", dest="change", nargs="+", default=[], help="KEY=VALUE for every run")
    parser.add_argument("--runs", type=Path, help="where the run folders are kept")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, help="threads a run; by default the cores shared by the jobs")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    kind = "labels_ablation" if options.ablation else "labels"
    known = {name: ("uot_rcl", change) for name, change in ABLATION.items()}
    if not options.ablation:
        known = {name: (method, {}) for name, method in ROWS.items()}
    names = options.rows or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"unknown rows {', '.join(unknown)}; expected some of {', '.join(known)}")
    ratios = options.ratios or (["0.6"] if options.ablation else ["0", "0.2", "0.4", "0.6", "0.8"])
    seeds = options.seeds or ([0, 1, 2] if options.ablation else [0, 1, 2, 3, 4])
    folder = options.runs or Path("runs") / kind
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.jobs)
    with ThreadPoolExecutor(options.jobs) as pool:
        tasks = [
            pool.submit(run, options, name, *known[name], ratio, seed, folder, threads)
            for seed, ratio, name in product(seeds, ratios, names)
        ]
        rows = [task.result() for task in tasks]
    output = options.output or RESULTS / f"{kind}.csv"
    write_rows(output, [*other_rows(output, rows), *rows])
    split = "test" if "test_map" in rows[0] else "dev"
    for ratio, name in product(ratios, names):
        print(summary(name, ratio, [r for r in rows if (r["row"], r["ratio"]) == (name, ratio)], split))
    print(f"written to {output}")


def run(
    options: argparse.Namespace,
    name: str,
    method: str,
    change: dict[str, str],
    ratio: str,
    seed: int,
    folder: Path,
    threads: int,
) -> dict[str, Any]:
    """Train one run, or go on with it, and read its results."""
    path = folder / f"{options.data}-{name.replace(' ', '_')}-{options.kind}-{ratio}-{seed}"
    begin = ["--data", options.data, "--method", method, "--noise", ratio, "--noise-kind", options.kind]
    begin += ["--seed", str(seed)]
    begin += [] if options.data_root is None else ["--data-root", str(options.data_root)]
    begin += ["--set", "evaluation.test=null"] if options.ablation else []
    given = [*(f"method.{key}={value}" for key, value in change.items()), *options.change]
    results, epochs = finished_run(
        path, [*begin, *(part for each in given for part in ("--set", each))], threads
    )
    correction = results.get("findings", {}).get("correction", {})
    return {
        "data": options.data,
        "row": name,
        "kind": options.kind,
        "ratio": ratio,
        "seed": seed,
        "protocol": results["protocol"],
        "data_fingerprint": results["data_fingerprint"],
        "noise_hash": results["noise_hash"][:16],
        "matcher": results["matcher"],
        "best_epoch": results["best_epoch"],
        **{
            f"{split}_{key}": round(values[key], 2)
            for split, values in results["splits"].items()
            for key in MEASURES
        },
        "last_dev_map": round(epochs[-1]["dev"]["map"], 2),
        **{key: "" if key not in correction else round(correction[key], 4) for key in CORRECTION},
        "noise_rate": round(epochs[-1]["noise_rate"], 4) if "noise_rate" in epochs[-1] else "",
        "seconds": results["seconds"],
        "threads": threads,
    }


def other_rows(path: Path, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the CSV already holds of other data sets or kinds of noise."""
    if not path.exists():
        return []
    fresh = {(row["data"], row["kind"]) for row in new}
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if (row["data"], row["kind"]) not in fresh]


def summary(name: str, ratio: str, rows: list[dict[str, Any]], split: str) -> str:
    """Mean and standard deviation over seeds, as a row of a Markdown table."""
    cells = []
    for key in (f"{split}_map_i2t", f"{split}_map_t2i", f"{split}_map", *CORRECTION, "noise_rate"):
        values = [row[key] for row in rows if row[key] != ""]
        digits = 1 if key.startswith(split) else 3
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells.append(f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}" if values else "")
    return f"| {ratio} | {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
