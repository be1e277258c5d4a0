"""What every benchmark shares: the machine it ran on, timing a call, and the CSV it leaves behind."""

from __future__ import annotations

import csv
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

RESULTS = Path(__file__).resolve().parents[1] / "results"


def machine_description() -> dict[str, str]:
    """Processor, cores, accelerator and library versions, as CSV columns."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "cpu": _cpu_model(),
        "cores": str(_cores()),
        "torch_threads": str(torch.get_num_threads()),
        "gpu": gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def timed(fn: Callable[[], object], repeats: int = 5, warmup: int = 1) -> dict[str, float]:
    """Wall-clock seconds of a call; an accelerator is waited for before each reading of the clock.

    Args:
        fn: what to time.
        repeats: how many timed calls, at least 1.
        warmup: how many calls before those, not timed.

    Returns:
        Seconds under ``min``, ``median`` and ``max``.
    """
    for _ in range(warmup):
        fn()
    seconds = []
    for _ in range(repeats):
        _wait_for_device()
        start = time.perf_counter()
        fn()
        _wait_for_device()
        seconds.append(time.perf_counter() - start)
    return {"min": min(seconds), "median": statistics.median(seconds), "max": max(seconds)}


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a CSV file; its columns are the keys of all rows in order of first appearance.

    Args:
        path: the file, replaced if there.
        rows: at least one row.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
