"""What the commands print: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler

from robustcmr.reporting.tables import (
    correction_table,
    division_table,
    map_table,
    recall_table,
    rematch_table,
)
from robustcmr.runs.folder import RunFolder
from robustcmr.training import processes
from robustcmr.training.interrupt import TrainingStopped

RANKS_WIDTH = 92  # columns a table with ranks takes, names of the rows included


@contextmanager
def running(folder: Path) -> Iterator[Console]:
    """Show notes on stderr while a run goes on, and say how to resume when it is stopped."""
    if not processes.is_writer():
        with _silence():
            yield Console(quiet=True)
        return
    console = Console(stderr=True)
    logger = logging.getLogger("robustcmr")
    handler = _log_handler(console)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield console
    except TrainingStopped as stop:
        sys.stderr.write(f"stopped and saved; go on with: robustcmr train --resume {folder}\n")
        raise typer.Exit(128 + stop.signal_number) from None
    except KeyboardInterrupt:
        saved = RunFolder(folder).holds_run
        sys.stderr.write(
            f"stopped at once; go on from the last checkpoint with: robustcmr train --resume {folder}\n"
            if saved
            else "stopped before the run began; nothing was written\n"
        )
        raise typer.Exit(130) from None
    finally:
        logger.removeHandler(handler)


@contextmanager
def _silence() -> Iterator[None]:
    """What one process of several says is said once."""
    try:
        yield
    except TrainingStopped as stop:
        raise typer.Exit(128 + stop.signal_number) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _log_handler(console: Console) -> logging.Handler:
    handler: logging.Handler
    if console.is_terminal:  # drawn together with the progress bar
        handler = RichHandler(
            console=console, show_path=False, show_level=False, highlighter=NullHighlighter(), markup=False
        )
    else:
        handler = logging.StreamHandler(sys.stderr)  # lines as long as they are
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler


def report_run(run: RunFolder, as_json: bool) -> None:
    """Print the outcome of a finished run."""
    results = run.read_results() or {}
    if as_json:
        print_json(results)
        return
    console = Console()
    print_measures(console, results["splits"])
    print_beliefs(console, results.get("findings", {}))
    for line in [*run_summary(results), *belief_summary(results.get("findings"), run)]:
        console.print(line, highlight=False, soft_wrap=True)
    console.print(
        f"saved in {run.path}; a page of it: robustcmr report {run.path}", highlight=False, soft_wrap=True
    )


def print_measures(console: Console, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Print retrieval by row: mAP of labelled data, or recalls, with ranks where there is room for them."""
    if any("map" in measures for measures in results.values()):
        console.print(map_table(results))
    else:
        console.print(recall_table(results, ranks=console.width >= RANKS_WIDTH))


def print_beliefs(console: Console, beliefs: Mapping[str, Any]) -> None:
    """Print how far a method's division, rematching or corrected labels agree with the truth, if known."""
    if "division" in beliefs:
        console.print(division_table({"train": beliefs["division"]}))
    if "rematch" in beliefs:
        console.print(rematch_table({"best epoch": beliefs["rematch"]}))
    if "correction" in beliefs:
        console.print(correction_table({"train": beliefs["correction"]}))


def run_summary(results: dict[str, Any]) -> list[str]:
    """What a finished run was and what it took, in a few lines."""
    models = "one model" if results["n_models"] == 1 else f"ensemble of {results['n_models']} models"
    memory = results["peak_memory_bytes"]["cpu"] / 2**30
    return [
        f"{results['matcher']} + {results['method']} on {results['data']}, {models}, "
        f"seed {results['seed']}: {_noise_summary(results)}",
        f"epoch {results['best_epoch']} of {results['epochs']} was best on {results['selection_split']}; "
        f"{results['seconds']:.0f} s, peak memory {memory:.1f} GiB, {results['parameters']:,} parameters",
    ]


def _noise_summary(results: Mapping[str, Any]) -> str:
    pairs, realised = results["training_pairs"], results["noise_ratio_realised"]
    labelled = results["track"] == "labels"
    if realised == 0:
        return f"all {pairs:,} {'labels' if labelled else 'pairs'} as they were written"
    asked = "" if results["noise_ratio"] is None else f"{results['noise_ratio']:.0%} asked for, "
    if not labelled:
        how, what = f"{results['protocol']} protocol", f"{pairs:,} pairs mismatched"
    else:
        labels = pairs if results["protocol"] == "shared" else 2 * pairs
        drawn = "shared" if results["protocol"] == "shared" else "by modality"
        how, what = f"{results['noise_kind']}, {drawn}", f"{labels:,} labels wrong"
    return f"{realised:.1%} of {what} ({asked}{how}, noise {results['noise_hash'][:12]})"


def belief_summary(beliefs: Mapping[str, Any] | None, run: RunFolder) -> list[str]:
    """What a finished run believes of its training pairs, in one line; none if it holds no belief."""
    if beliefs is None:
        return []
    if "changed" in beliefs:
        return [
            f"{beliefs['changed']:.1%} of the training pairs got another class, all classes are in "
            f"{run.labels}; the most doubted: robustcmr suspects {run.path}"
        ]
    suspected, rate = beliefs["suspected"], beliefs["noise_rate"]
    if rate is None:
        return [f"no training pair is suspected; {beliefs['reason']}"]
    low, high = beliefs["noise_interval"]
    return [
        f"{suspected:.1%} of the training pairs are suspected, about {rate:.0%} ({low:.0%} to {high:.0%}) "
        f"are believed wrong; the worst: robustcmr suspects {run.path}"
    ]


def print_json(value: Any) -> None:
    """Print a JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
