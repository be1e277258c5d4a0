"""Seconds an epoch with one process and with several, which share every batch, started by torchrun.

    python scripts/benchmarks/processes.py
    python scripts/benchmarks/processes.py --processes 2 --threads 1

The same training of the embedded scenes to the same losses: one process with as many threads as one of the
several has, one process with as many threads as all of them have together, and the several. The floor is the
first, divided by the number of processes. The last epoch counts, so that nothing has to warm up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

from common import (
    Floor,
    benchmark_parser,
    cores,
    headline,
    machine_description,
    publish,
)


def epoch(options: Namespace, place: Path, processes: int, threads: int) -> tuple[float, float]:
    """Seconds of the last epoch and its loss."""
    output = place / f"{processes}x{threads}"
    launch = ["-m", "robustcmr"]
    if processes > 1:
        launch = [
            *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)),
            *("-m", "robustcmr"),
        ]
    command = [
        *(sys.executable, *launch, "train", "--data", "scenes", "--method", options.method),
        *("--epochs", str(options.epochs), "--batch-size", str(options.batch), "--device", "cpu"),
        *("--output", str(output), "--set", f"data.n_train={options.images}", "--set", "data.n_dev=20"),
        *("--set", "data.n_test=20", "--set", "evaluation.test=null"),
        *("--set", f"matcher.dim={options.dim}"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return float(rows[-1]["seconds"]), float(rows[-1]["loss"])


def main() -> int:
    """Measure and write the rows."""
    parser = benchmark_parser(__doc__, "processes.csv")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--method", default="infonce")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=1500, help="scenes to train on, five captions each")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dim", type=int, default=256)
    options = parser.parse_args()
    several, threads = options.processes, options.threads
    if threads is None:
        threads = max(1, cores() // several)
    with tempfile.TemporaryDirectory() as folder:
        narrow, loss = epoch(options, Path(folder), 1, threads)
        wide, _ = epoch(options, Path(folder), 1, threads * several)
        ours, shared_loss = epoch(options, Path(folder), several, threads)
    rows: list[dict[str, object]] = []
    floor = Floor(narrow / several, f"one process of {threads} threads, over {several}")
    pairs = options.images * 5
    for reference, n in ((narrow, threads), (wide, threads * several)):
        front = headline(
            "processes",
            f"epoch of {pairs:,} pairs, {several} processes of {threads} threads",
            ours,
            reference,
            f"one process of {n} threads",
            floor=floor,
        )
        details = {
            "method": options.method,
            "batch": options.batch,
            "dim": options.dim,
            "epochs": options.epochs,
            "loss_difference": f"{abs(shared_loss - loss):.1e}",
            **machine_description(),
        }
        rows.append({**front, **details})
    publish(rows, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
