"""All benchmarks by one command: each suite in a process of its own, then one table, ratios first.

    python scripts/benchmarks/run.py                         # everything, about an hour on two cores
    python scripts/benchmarks/run.py --quick                 # small sizes: whether it runs, not how fast
    python scripts/benchmarks/run.py --suite omit recall --threads 1
    python scripts/benchmarks/run.py --device cuda --results DIR

Each suite leaves its CSV in the folder of results; scripts/results/README.md says what the columns mean. A
ratio says how many times better ours is than the reference, a share how much of what the machine can do at
all (floor) is reached. A suite that fails is named at the end, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"

Row = Mapping[str, str]


def as_it_is(row: Row) -> Row:
    """A row that has the columns of a headline."""
    return row


def of_whole_set(row: Row) -> Row:
    """The search for candidates and the transport, in the columns of a headline."""
    if row.get("what"):
        return row
    seconds, product = float(row["candidates_cpu_seconds"]), float(row["product_cpu_seconds"])
    return {
        "suite": "whole_set",
        "what": f"candidates of {row['suspected']} among {row['pairs']}, then a plan in "
        f"{row['transport_seconds']} s at epsilon {row['epsilon']}",
        "ours": f"{seconds:.4g}",
        "unit": "s" if row.get("device", "cpu") != "cpu" else "s of the processor",
        "floor": f"{product:.4g}",
        "floor_share": f"{product / seconds:.3g}",
        "floor_is": "bare matrix product of the same blocks",
    }


@dataclass(frozen=True)
class Suite:
    """One program.

    Attributes:
        script: its file here.
        csv: what its results are called.
        quick: options that make it short.
        full: options otherwise.
        devices: whether it can run on an accelerator.
        read: makes a row of its CSV a headline.
    """

    script: str
    csv: str
    quick: tuple[str, ...]
    full: tuple[str, ...] = ()
    devices: bool = False
    read: Callable[[Row], Row] = as_it_is


NARROW = ("--dim", "64", "--repeats", "2")
SMALL = ("--pairs", "200", "--batch", "32", "--regions", "8", "--width", "64", "--dim", "64")

SUITES: Mapping[str, Suite] = {
    "omit": Suite(
        *("score.py", "score.csv"),
        quick=("--batch", "32", "--dim", "64", "--repeats", "3", "--no-memory"),
        devices=True,
    ),
    "evaluation": Suite(
        *("evaluation.py", "evaluation.csv"),
        quick=("--images", "64", "--dim", "64", "--no-memory"),
        devices=True,
    ),
    "sgr": Suite(
        *("matchers.py", "matchers.csv"),
        quick=("--batch", "16", "--words", "12", *NARROW, "--sim-dim", "32", "--part", "8", "--no-memory"),
    ),
    "transport": Suite(
        *("transport.py", "transport.csv"),
        quick=("--sizes", "64", "--batch", "4", "--epsilons", "0.07", "--repeats", "3", "--patience", "0.2"),
        devices=True,
    ),
    "division": Suite("division.py", "division.csv", (*SMALL, "--turns", "1"), devices=True),
    "steps": Suite("steps.py", "steps.csv", (*SMALL, "--turns", "1"), devices=True),
    "recall": Suite("recall.py", "recall.csv", ("--images", "1000", "--repeats", "3")),
    "loader": Suite(
        "loader.py", "loader.csv", ("--images", "200", "--regions", "4", "--width", "64", "--repeats", "1")
    ),
    "memory": Suite("resident_memory.py", "resident_memory.csv", ("--images", "1000"), ("--images", "29000")),
    "embeddings": Suite("embeddings.py", "embeddings.csv", ("--pairs", "20000", "--width", "64")),
    "whole_set": Suite(
        *("whole_set.py", "whole_set.csv"),
        quick=("--pairs", "2000", "--width", "64", "--small", "100", "--floor-blocks", "1"),
        devices=True,
        read=of_whole_set,
    ),
    "start": Suite("start.py", "start.csv", ("--repeats", "1", "--no-first")),
    "processes": Suite("processes.py", "processes.csv", ("--images", "100", "--epochs", "2", "--dim", "64")),
    "precision": Suite(
        *("precision.py", "precision.csv"),
        quick=(*SMALL, "--epochs", "1", "--scenes", "100", "--seeds", "1"),
        devices=True,
    ),
}


def command(suite: Suite, options: argparse.Namespace, output: Path) -> list[str]:
    """How a suite is started."""
    words = [sys.executable, str(HERE / suite.script), "--output", str(output)]
    words += suite.quick if options.quick else suite.full
    if options.threads is not None:
        words += ["--threads", str(options.threads)]
    if suite.devices:
        words += ["--device", options.device]
    return words


def run_suite(name: str, options: argparse.Namespace) -> list[Row] | None:
    """Run a suite and read what it left; None if it failed. What it says is shown then, and else not."""
    suite = SUITES[name]
    output = options.results / suite.csv
    start = time.perf_counter()
    sys.stderr.write(f"{name} …\n")
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        done = subprocess.run(command(suite, options, output), stdout=said, stderr=said, check=False)
        seconds = time.perf_counter() - start
        if done.returncode:
            said.seek(0)
            sys.stderr.write(f"{said.read()}{name} failed after {seconds:.0f} s\n")
            return None
    sys.stderr.write(f"{name}: {seconds:.0f} s\n")
    try:
        with output.open(encoding="utf-8", newline="") as file:
            rows = [suite.read(row) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        sys.stderr.write(f"{name}: {output} cannot be read, {type(error).__name__} {error}\n")
        return None
    return [row for row in rows if row.get("what")]


def table(rows: Sequence[Row]) -> str:
    """The comparisons, one a line."""
    lines = [("ratio", "suite", "what", "ours", "reference", "which is", "floor", "share", "floor is")]
    for row in rows:
        ours = f"{row['ours']} {row['unit']}"
        told = [row.get(key) or "–" for key in ("reference", "reference_is", "floor")]
        share = row.get("floor_share") or "–"
        lines.append(
            (row.get("ratio") or "–", row["suite"], row["what"], ours, *told, share, row.get("floor_is", ""))  # type: ignore[arg-type]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )
    return "".join(f"{line.rstrip()}\n" for line in padded)


def main() -> int:
    """Run the suites asked for and print their table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", nargs="+", choices=["all", *SUITES], default=["all"])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; suites of the CPU ignore it")
    parser.add_argument("--quick", action="store_true", help="small sizes, in about two minutes")
    parser.add_argument("--threads", type=int, help="processor threads; by default what each suite takes")
    parser.add_argument(
        "--results",
        type=Path,
        help="folder of the CSVs; scripts/results by default, and for --quick a folder that is deleted",
    )
    options = parser.parse_args()
    names = list(SUITES) if "all" in options.suite else list(dict.fromkeys(options.suite))
    rows: list[Row] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        if options.results is None:
            options.results = Path(folder) if options.quick else RESULTS
        options.results.mkdir(parents=True, exist_ok=True)
        for name in names:
            found = run_suite(name, options)
            if found is None:
                failed.append(name)
            else:
                rows += found
    if rows:
        sys.stdout.write(table(rows))
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
