"""For the scripts that make tables: a run folder brought to its end, and rows written as CSV."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robustcmr.runs.folder import RunFolder


def finished_run(
    path: Path, begin: Sequence[str], threads: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Start a run, or go on with it; one that has finished is only read.

    Args:
        path: the run folder.
        begin: options of ``robustcmr train``, but for the folder.
        threads: threads to compute with.

    Returns:
        Its results, and the rows of its epochs.

    Raises:
        RuntimeError: the run failed.
    """
    started = (path / "config.yaml").exists()
    arguments = ["--resume", str(path)] if started else [*begin, "--output", str(path)]
    if not (path / "results.json").exists():
        done = subprocess.run(
            [sys.executable, "-m", "robustcmr", "train", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        if done.returncode:
            raise RuntimeError(f"{path} failed:\n{done.stderr}")
    run = RunFolder(path)
    return run.read_results() or {}, run.read_metrics()


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV, with a column for every key that occurs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
