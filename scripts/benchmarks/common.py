"""What every benchmark shares: the machine it ran on, timing a call, floors, and the CSV it leaves behind.

A row that :func:`headline` begins is one comparison, laid out alike by all suites, so that ``run.py`` can put
them into one table; a suite adds columns of its own behind.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from robustcmr.environment import processor_name

RESULTS = Path(__file__).resolve().parents[1] / "results"

HEADLINE = (
    *("suite", "what", "ratio", "ours", "reference", "unit", "reference_is"),
    *("floor", "floor_share", "floor_is"),
)
"""Columns that a headline fills."""


@dataclass(frozen=True)
class Floor:
    """What cannot be beaten on this machine, as measured in the same run.

    Attributes:
        value: in the unit of the row: the fewest seconds, or the most pairs a second.
        words: what it is made of, such as ``77 GFLOP at 160 GFLOP/s``.
    """

    value: float
    words: str


def headline(
    suite: str,
    what: str,
    ours: float,
    reference: float | None,
    reference_is: str,
    *,
    unit: str = "s",
    floor: Floor | None = None,
    larger_is_better: bool = False,
) -> dict[str, object]:
    """The columns that every comparison has.

    Args:
        suite: name of the suite.
        what: what was measured, in a few words.
        ours: in ``unit``.
        reference: likewise; None where there is nothing to compare with.
        reference_is: what it is, in a few words.
        unit: such as ``s`` or ``pairs/s``.
        floor: likewise in ``unit``.
        larger_is_better: whether it is a rate and no time.

    Returns:
        A row to add other columns to; ``ratio`` says how many times better ours is, ``floor_share`` which
        part of what the machine could do is reached, 1 being all.
    """

    def better(x: float, than: float) -> str:
        return f"{x / than if larger_is_better else than / x:.3g}"

    return {
        "suite": suite,
        "what": what,
        "ratio": "" if reference is None else better(ours, reference),
        "ours": f"{ours:.4g}",
        "reference": "" if reference is None else f"{reference:.4g}",
        "unit": unit,
        "reference_is": reference_is,
        "floor": "" if floor is None else f"{floor.value:.4g}",
        "floor_share": "" if floor is None else better(ours, floor.value),
        "floor_is": "" if floor is None else floor.words,
    }


def benchmark_parser(doc: str | None, csv_name: str, devices: bool = False) -> argparse.ArgumentParser:
    """A command line with what all suites understand.

    Args:
        doc: the program's description.
        csv_name: what the results are called under scripts/results.
        devices: whether the suite can run on an accelerator.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="processor threads; by default as many as torch takes")
    if devices:
        parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--output", type=Path, default=RESULTS / csv_name)
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of a command line made by :func:`benchmark_parser`, torch told how many threads to take."""
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return options


def machine_description() -> dict[str, str]:
    """Processor, cores, accelerator and library versions, as CSV columns."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "cpu": processor_name(),
        "cores": str(cores()),
        "torch_threads": str(torch.get_num_threads()),
        "gpu": gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
    seconds = [stopwatch(fn) for _ in range(repeats)]
    return {"min": min(seconds), "median": statistics.median(seconds), "max": max(seconds)}


def stopwatch(fn: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    wait_for_device()
    start = time.perf_counter()
    fn()
    wait_for_device()
    return time.perf_counter() - start


def in_turns(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of several calls made turn by turn, so that a busy machine disturbs all alike.

    Args:
        calls: what to time, by name; warmed up already.
        repeats: turns.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(stopwatch(call))
    return seconds


def wait_for_device() -> None:
    """Wait until the accelerator, if there is one, has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@lru_cache(maxsize=8)
def product_speed(device: str = "cpu", dtype: torch.dtype = torch.float32, n: int = 0) -> float:
    """FLOP a second of a bare matrix product (n, n) by (n, n) on this machine, now and with these threads.

    Args:
        device: where.
        dtype: number type.
        n: rows and columns; by default what takes a tenth of a second or less.
    """
    n = n or (2048 if torch.device(device).type == "cpu" else 8192)
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * n**3 / timed(lambda: torch.mm(a, b, out=out), repeats=7)["median"]


@lru_cache(maxsize=8)
def copy_speed(device: str = "cpu", mebibytes: int = 256) -> float:
    """Bytes a second that a copy moves, read and written both counted."""
    source = torch.ones(mebibytes * 2**18, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / timed(lambda: target.copy_(source), repeats=7)["median"]


def arithmetic_floor(flop: float, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Floor:
    """Seconds that bare matrix products of so many operations take."""
    speed = product_speed(device, dtype)
    return Floor(flop / speed, f"{flop / 1e9:.3g} GFLOP at {speed / 1e9:.0f} GFLOP/s of a matrix product")


def memory_floor(moved: float, device: str = "cpu") -> Floor:
    """Seconds that moving so many bytes between memory and processor takes."""
    speed = copy_speed(device)
    return Floor(moved / speed, f"{moved / 1e9:.3g} GB at {speed / 1e9:.1f} GB/s of a memory copy")


def sum_of_floors(*floors: Floor) -> Floor:
    """One after the other."""
    return Floor(sum(floor.value for floor in floors), ", then ".join(floor.words for floor in floors))


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


def print_headlines(rows: Sequence[Mapping[str, object]]) -> None:
    """The comparisons among some rows as a table on stdout; ratios first."""
    table = [("ratio", "suite", "what", "ours", "reference", "", "floor", "share", "floor is")]
    for row in rows:
        if row.get("what"):
            numbers = [str(row[key]) for key in ("ratio", "suite", "what")]
            ours = [f"{row['ours']} {row['unit']}", str(row["reference"]), str(row["reference_is"])]
            floor = [str(row.get(key, "")) for key in ("floor", "floor_share", "floor_is")]
            table.append((*numbers, *ours, *floor))  # type: ignore[arg-type]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def publish(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Print the comparisons among some rows, write all of them as CSV, and say where."""
    print_headlines(rows)
    write_rows(path, rows)
    print(f"written to {path}")
