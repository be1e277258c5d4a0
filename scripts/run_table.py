"""Shared by the scripts that make tables: run folders trained to their end, rows as CSV, means over seeds."""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

from robustcmr.runs.folder import RunFolder

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]
Changes = Mapping[str, tuple[str, Mapping[str, str]]]
"""Row name -> method and the options it changes, of the method where no other part is named."""


def table_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all tables have."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n", 1)[0])
    parser.add_argument("--data-root", type=Path, help="folder of the data")
    parser.add_argument("--rows", nargs="+", help="rows to measure; all by default")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--ablation", action="store_true", help="change one option a row, on dev")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of every run")
    parser.add_argument("--runs", type=Path, help="folder of the run folders")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, help="threads a run; by default the cores shared by the jobs")
    parser.add_argument("--output", type=Path)
    return parser


def make_table(
    options: argparse.Namespace,
    title: str,
    known: Changes,
    column: str,
    points: Sequence[str],
    seeds: Sequence[int],
    train: Callable[[str, str, int], tuple[str, list[str]]],
    row: Callable[[Row, list[Row]], Row],
    keys: Sequence[str],
    same: Sequence[str] = (),
) -> None:
    """Train all rows at all noise levels and seeds, unless they have finished; write and print the table.

    Args:
        options: of :func:`table_parser`.
        title: name of the CSV and of the folder of runs.
        known: the rows there are.
        column: of the noise levels in the CSV.
        points: noise levels.
        seeds: of the runs.
        train: folder and options of ``robustcmr train`` for a row, noise level and seed.
        row: further columns of the CSV, from results and epochs.
        keys: columns to print, ``SPLIT`` in place of dev or test.
        same: keep rows that the CSV has, unless these columns are as in a new one; by default keep none.
    """
    names = options.rows or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown rows {', '.join(unknown)}; expected some of {', '.join(known)}")
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.jobs)
    runs, output = options.runs or Path("runs") / title, options.output or RESULTS / f"{title}.csv"

    def run(seed: int, point: str, name: str) -> Row:
        method, change = known[name]
        folder, begin = train(name, point, seed)
        settings = [f"{key if '.' in key else f'method.{key}'}={value}" for key, value in change.items()]
        settings += options.set
        settings += ["evaluation.test=null"] if options.ablation else []
        begin += ["--method", method, "--seed", str(seed)]
        begin += [] if options.data_root is None else ["--data-root", str(options.data_root)]
        begin += [part for setting in settings for part in ("--set", setting)]
        results, epochs = finished_run(runs / folder.replace(" ", "_"), begin, threads)
        return {
            "row": name,
            column: point,
            "seed": seed,
            **{key: results[key] for key in ("protocol", "data_fingerprint", "matcher", "best_epoch")},
            "noise_hash": results["noise_hash"][:16],
            **row(results, epochs),
            "seconds": results["seconds"],
            "threads": threads,
        }

    with ThreadPoolExecutor(options.jobs) as pool:
        tasks = [pool.submit(run, *cell) for cell in product(seeds, points, names)]
        rows = [task.result() for task in tasks]
    fresh = {tuple(str(new[key]) for key in same) for new in rows}
    kept = [old for old in read_rows(output) if tuple(old[key] for key in same) not in fresh]
    write_rows(output, [*kept, *rows])
    split = "test" if any(key.startswith("test_") for key in rows[0]) else "dev"
    for point, name in product(points, names):
        chosen = [each for each in rows if (each["row"], each[column]) == (name, point)]
        print(summary([point, name], chosen, [key.replace("SPLIT", split) for key in keys]))
    print(f"written to {output}")


def finished_run(path: Path, begin: Sequence[str], threads: int) -> tuple[Row, list[Row]]:
    """Start or resume a run, or read it if it has finished.

    Args:
        path: the run folder.
        begin: options of ``robustcmr train`` without the folder.
        threads: threads to compute with.

    Returns:
        Its results, and one row for each epoch.

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


def splits(results: Row, measures: Iterable[str]) -> Row:
    """Return ``SPLIT_MEASURE`` of every split, rounded."""
    return {
        f"{split}_{key}": round(values[key], 2)
        for split, values in results["splits"].items()
        for key in measures
    }


def rounded(values: Mapping[str, float], keys: Iterable[str], prefix: str = "") -> Row:
    """Return the values of some keys to four digits, empty where missing."""
    return {f"{prefix}{key}": round(values[key], 4) if key in values else "" for key in keys}


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a CSV as texts; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, with a column for every key that occurs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        columns = dict.fromkeys(key for row in rows for key in row)
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def summary(labels: Sequence[str], rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Return mean ± standard deviation over seeds as a row of a Markdown table."""
    cells = []
    for key in keys:
        values = [row[key] for row in rows if row.get(key, "") != ""]
        digits = 1 if key.startswith(("dev_", "test_")) else 3
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells.append(f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}" if values else "")
    return "| " + " | ".join([*labels, *cells]) + " |"
