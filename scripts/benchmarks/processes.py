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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import (
    Floor,
    benchmark_parser,
    cores,
    headline,
    machine_description,
    publish,
)

QUIET: Mapping[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def epoch(options: Namespace, dim: int, processes: int, threads: int) -> tuple[float, float]:
    """Seconds of the last epoch and its loss."""
    launch = ["-m", "robustcmr"]
    if processes > 1:
        launch = [
            *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)),
            *("-m", "robustcmr"),
        ]
    command = [
        *(sys.executable, *launch, "train", "--data", "scenes", "--method", options.method),
        *("--epochs", str(options.epochs), "--batch-size", str(options.batch), "--device", "cpu"),
        *("--set", f"data.n_train={options.images}", "--set", "data.n_dev=20", "--set", "data.n_test=20"),
        *("--set", "evaluation.test=null", "--set", f"matcher.dim={dim}"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        subprocess.run([*command, "--output", str(run)], check=True, env=environment, **QUIET)
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return float(rows[-1]["seconds"]), float(rows[-1]["loss"])


def measured(options: Namespace, dim: int, threads: int) -> list[dict[str, object]]:
    """Rows of one width."""
    several = options.processes
    narrow, loss = epoch(options, dim, 1, threads)
    wide, _ = epoch(options, dim, 1, threads * several)
    ours, shared_loss = epoch(options, dim, several, threads)
    floor = Floor(narrow / several, f"one process of {threads} threads, over {several}")
    what = f"epoch of {options.images * 5:,} pairs, D {dim}, {several} processes of {threads} threads"
    details = {
        "method": options.method,
        "batch": options.batch,
        "dim": dim,
        "epochs": options.epochs,
        "loss_difference": f"{abs(shared_loss - loss):.1e}",
        **machine_description(),
    }
    return [
        {
            **headline("processes", what, ours, reference, f"one process of {n} threads", floor=floor),
            **details,
        }
        for reference, n in ((narrow, threads), (wide, threads * several))
    ]


def main() -> int:
    """Measure and write the rows."""
    parser = benchmark_parser(__doc__, "processes.csv")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--method", default="infonce")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=500, help="scenes to train on, five captions each")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dim", type=int, nargs="+", default=[256, 1024])
    options = parser.parse_args()
    threads = options.threads or max(1, cores() // options.processes)
    publish([row for dim in options.dim for row in measured(options, dim, threads)], options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
