"""Shared by all benchmarks: timing, memory, what the machine can do at most, and the CSV with its columns.

Each row that :func:`headline` makes is one comparison, with the same columns in every benchmark.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from robustcmr.environment import processor_name

RESULTS = Path(__file__).resolve().parents[1] / "results"
HEADLINE = (
    *("suite", "what", "ratio", "ours", "reference", "unit", "reference_is"),
    *("floor", "floor_share", "floor_is"),
)
_TINY = torch.finfo(torch.float32).tiny


class Floor(NamedTuple):
    """The best this machine can do, measured in the same run."""

    value: float  # in the unit of the row: fewest seconds or MiB, or most pairs a second
    words: str  # how it is made up, such as ``77 GFLOP at 160 GFLOP/s``


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
    """Return the columns ``HEADLINE`` of one comparison.

    ``ratio`` says how many times better ours is than the reference, ``floor_share`` how much of the floor is
    reached; 1 is all. ``ours``, ``reference`` (None if there is none) and ``floor`` are in ``unit``, of which
    less is better unless ``larger_is_better``, as of a rate.
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
    """Return a command line with the shared options; results go to a CSV in ``scripts/results``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="processor threads; default: torch's choice")
    if devices:
        parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--output", type=Path, default=RESULTS / csv_name)
    return parser


def add_numbers(parser: argparse.ArgumentParser, **defaults: float) -> None:
    """Add options of one number each."""
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)


def add_switch(parser: argparse.ArgumentParser, name: str, words: str) -> None:
    """Add an option that is on by default, and its ``--no-`` form."""
    parser.add_argument(name, action=argparse.BooleanOptionalAction, default=True, help=words)


def add_memory(parser: argparse.ArgumentParser, *child: str) -> None:
    """Add ``--memory``, and ``--child`` of :func:`peak_memory`."""
    add_switch(parser, "--memory", "measure peak memory too")
    parser.add_argument("--child", nargs=len(child), metavar=child, help=argparse.SUPPRESS)


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line and set torch's threads."""
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return options


def machine_description() -> dict[str, str]:
    """Return processor, cores, accelerator and versions as CSV columns."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": processor_name(),
        "cores": str(cores),
        "torch_threads": str(torch.get_num_threads()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def wait_for_device() -> None:
    """Wait until the accelerator, if any, has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def stopwatch(call: Callable[[], object]) -> float:
    """Return the wall-clock seconds of one call, the accelerator's work included."""
    wait_for_device()
    start = time.perf_counter()
    call()
    wait_for_device()
    return time.perf_counter() - start


def timed(call: Callable[[], object], repeats: int = 5, warmup: int = 1) -> float:
    """Return the median seconds of a call over some repeats, after a warm-up."""
    for _ in range(warmup):
        call()
    return statistics.median(stopwatch(call) for _ in range(repeats))


def in_turns(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of several calls made in turns, so that other load disturbs all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(stopwatch(call))
    return seconds


def peak_memory(measure: Callable[..., float], options: argparse.Namespace, *words: str) -> float:
    """Return the MiB that ``measure`` finds for some words.

    On a CPU this program is run again with ``--child`` and the words, and prints the number: the peak of one
    call shows only in a process of its own.
    """
    if torch.device(options.device).type == "cuda":
        return measure(options, *words)
    command = [sys.executable, *sys.argv, "--child", *words]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def extra_memory(call: Callable[[], object], device: str) -> float:
    """Return the peak MiB that a call, made once before, takes on top of what the process had (Linux)."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the recorded peak
    before = _peak_resident()
    call()
    return _peak_resident() - before


def _peak_resident() -> float:
    """Peak resident MiB since the last reset; ``getrusage`` would include the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024.0


@lru_cache(maxsize=8)
def product_speed(device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """Return the FLOP/s of a square matrix product, with the threads as set now."""
    n = 2048 if torch.device(device).type == "cpu" else 8192
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * n**3 / timed(lambda: torch.mm(a, b, out=out), repeats=7)


@lru_cache(maxsize=8)
def copy_speed(device: str = "cpu", mebibytes: int = 256) -> float:
    """Return the bytes a second that a copy moves, reading and writing both counted."""
    source = torch.ones(mebibytes * 2**18, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / timed(lambda: target.copy_(source), repeats=7)


def arithmetic_floor(flop: float, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Floor:
    """Return the seconds that so many operations take as plain matrix products."""
    speed = product_speed(device, dtype)
    return Floor(flop / speed, f"{flop / 1e9:.3g} GFLOP at {speed / 1e9:.0f} GFLOP/s of a matrix product")


def memory_floor(moved: float, device: str = "cpu") -> Floor:
    """Return the seconds that so many bytes take between memory and processor."""
    speed = copy_speed(device)
    return Floor(moved / speed, f"{moved / 1e9:.3g} GB at {speed / 1e9:.1f} GB/s of a memory copy")


def sum_of_floors(*floors: Floor) -> Floor:
    """Return the floor of steps done one after the other."""
    return Floor(sum(floor.value for floor in floors), ", then ".join(floor.words for floor in floors))


def released_scores(
    left: Tensor, right: Tensor, a: Tensor, b: Tensor, *, smoothing: float, iterations: int, **_: object
) -> Tensor:
    """Score by the released OMIT formula: a plan (N, M, R, W) of all pairs, rescaled T times.

    Fragments of length 1 are (N, R, D) and (M, W, D), weights (N, R) and (M, W), 0 where padded.
    """
    S = torch.einsum("nrd,mwd->nmrw", left, right)
    P = torch.exp(-(1.0 - S) / smoothing)
    if not bool((a > 0).all() and (b > 0).all()):
        P = P * ((a > 0)[:, None, :, None] & (b > 0)[None, :, None, :])
    P = P / P.sum((-1, -2), keepdim=True)
    for _ in range(iterations):
        P = P * (a.unsqueeze(1) / P.sum(-1).clamp(min=_TINY)).unsqueeze(-1)
        P = P * (b.unsqueeze(0) / P.sum(-2).clamp(min=_TINY)).unsqueeze(-2)
    return (S * P).sum((-1, -2))


def publish(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Print the comparisons, and write all rows with a column for every key that occurs and the machine's.

    Exit if a ``score_difference`` exceeds 1e-5.
    """
    shown = HEADLINE[1:]
    table = [shown, *([str(row[key]) for key in shown] for row in rows if row.get("what"))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    rows = [{**row, **machine_description()} for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"written to {path}")
    if max(float(str(row.get("score_difference", 0))) for row in rows) > 1e-5:
        sys.exit("the scores differ by more than 1e-5")
