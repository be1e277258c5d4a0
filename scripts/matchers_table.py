"""Every matcher, trained with mismatched pairs: recall, size, time of an epoch and speed of scoring.

    python scripts/matchers_table.py                                        # embedded scenes, robust
    python scripts/matchers_table.py --data f8k --data-root DIR --methods hinge robust --epochs 4 --warmup 2

Each run is an ordinary run folder and is not repeated once finished. Speeds depend on the machine and its
load; run nothing beside them.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from run_table import RESULTS, finished_run, write_rows

MATCHERS = ("omit", "scan", "sgr", "saf", "vse_infty", "embeddings")
MEASURES = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum")


def main() -> None:
    """Train what is missing, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--matchers", nargs="+", default=list(MATCHERS))
    parser.add_argument("--methods", nargs="+", default=["robust"])
    parser.add_argument("--data", default="scenes")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--noise", default="0.4")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--epochs", type=int, help="a shorter schedule; the rate falls before the last epoch")
    parser.add_argument("--warmup", type=int, help="warm-up epochs of l2rm and robust")
    parser.add_argument("--threads", default=str(os.cpu_count() or 1))
    parser.add_argument("--runs", type=Path, default=Path("runs") / "matchers")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = options.threads  # before torch is imported, here and in the runs
    rows = [run(name, method, options) for method in options.methods for name in options.matchers]
    output = options.output or RESULTS / f"matchers_{options.data}.csv"
    write_rows(output, rows)
    for row in rows:
        recalls = " / ".join(f"{row[key]:.1f}" for key in MEASURES[:6])
        cells = (row["matcher"], row["method"], recalls, f"{row['rsum']:.1f}", f"{row['parameters']:,}")
        print("|", " | ".join((*cells, f"{row['epoch_seconds']:.1f}", f"{row['pairs_a_second']:,}")), "|")
    print(f"written to {output}")


def run(name: str, method: str, options: argparse.Namespace) -> dict[str, Any]:
    """Start, resume or read a run on dev alone, and time its scoring."""
    path = options.runs / f"{options.data}-{name}-{method}-{options.noise}-{options.seed}"
    begin = ["--data", options.data, "--matcher", name, "--method", method, "--noise", options.noise]
    begin += ["--seed", options.seed, "--set", "evaluation.test=null"]
    if options.data_root is not None:
        begin += ["--data-root", str(options.data_root)]
    if options.epochs is not None:
        begin += ["--epochs", str(options.epochs), "--set", f"optim.milestones=[{options.epochs - 1}]"]
    if options.warmup is not None and method in ("l2rm", "robust"):
        begin += ["--set", f"method.warmup_epochs={options.warmup}"]
    results, epochs = finished_run(path, begin, int(options.threads))
    return {
        "data": options.data,
        "matcher": name,
        "method": method,
        "noise": options.noise,
        **{key: results[key] for key in ("data_fingerprint", "protocol", "seed", "epochs", "parameters")},
        "noise_hash": results["noise_hash"][:16],
        **{key: round(results["splits"]["dev"][key], 2) for key in MEASURES},
        "epoch_seconds": round(sum(row["seconds"] for row in epochs) / len(epochs), 2),
        "pairs_a_second": round(pairs_a_second(path)),
        "seconds": results["seconds"],
        "peak_memory_mib": round(results["peak_memory_bytes"]["cpu"] / 2**20),
        "threads": options.threads,
    }


def pairs_a_second(path: Path) -> float:
    """Return the image-caption pairs of the dev split encoded and scored per second."""
    import torch

    from robustcmr.config.resolve import run_config
    from robustcmr.runs.folder import RunFolder
    from robustcmr.tracks.pairs import PairsTrack

    folder = RunFolder(path)
    config = run_config(folder.config)
    track = PairsTrack.build(config, folder)
    matcher = config.matcher.cls(config.matcher.options, track.spec)
    pairs = len(track.data.split("dev").captions) * track.data.split("dev").n_images
    best = float("inf")
    for _ in range(2):  # the first pass also warms up
        started = time.perf_counter()
        track.evaluate([matcher], "dev", torch.device("cpu"))
        best = min(best, time.perf_counter() - started)
    return pairs / best


if __name__ == "__main__":
    main()
