"""The baselines on the embedded scenes, over noise ratios and seeds, each an ordinary run folder.

    python scripts/scenes_baselines.py --jobs 2

Finished runs are kept, so that it can be stopped and started again. Writes a CSV with one row a run, and
prints mean and standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "scenes.csv"
MEASURES = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum")


def main() -> None:
    """Run what is missing, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--methods", nargs="+", default=["hinge", "infonce"])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0, 0.4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/scenes_baselines"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; the cores are shared among them")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    grid = list(product(options.methods, options.noise, options.seeds))
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(lambda trial: run(*trial, options.runs, threads), grid))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with options.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for method, noise in product(options.methods, options.noise):
        print(summary(method, noise, [r for r in rows if (r["method"], r["noise"]) == (method, noise)]))
    print(f"written to {options.output}")


def run(method: str, noise: float, seed: int, folder: Path, threads: int) -> dict[str, Any]:
    """Train one run, or go on with it, and read its results."""
    path = folder / f"{method}-{noise:g}-{seed}"
    begin = ["--method", method, "--noise", str(noise), "--seed", str(seed), "--output", str(path)]
    arguments = ["--resume", str(path)] if (path / "config.yaml").exists() else begin
    subprocess.run(
        [sys.executable, "-m", "robustcmr", "train", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    results = json.loads((path / "results.json").read_text())
    test, dev = results["splits"]["test"], results["splits"]["dev"]
    return {
        "data": results["data"],
        "data_fingerprint": results["data_fingerprint"],
        "matcher": results["matcher"],
        "method": method,
        "noise": noise,
        "protocol": results["protocol"],
        "ratio_realised": round(results["noise_ratio_realised"], 4),
        "noise_hash": results["noise_hash"][:16],
        "seed": seed,
        "n_models": results["n_models"],
        "selection_split": results["selection_split"],
        "best_epoch": results["best_epoch"],
        "dev_rsum": round(dev["rsum"], 2),
        **{f"test_{name}": round(test[name], 2) for name in MEASURES},
        "seconds": results["seconds"],
        "threads": threads,
    }


def summary(method: str, noise: float, rows: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds, as a row of a Markdown table."""
    cells = []
    for name in MEASURES:
        values = [row[f"test_{name}"] for row in rows]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells.append(f"{statistics.mean(values):.1f} ± {spread:.1f}")
    return f"| {method} | {noise:.0%} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
