"""Print results on stdout, progress and notes on stderr."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from robustcmr.cli.options import note, print_json as print_json, say, typed
from robustcmr.jobs.notes import shown_notes
from robustcmr.reporting import sentences
from robustcmr.reporting.tables import CORRECTION, DIVISION, REMATCH, measures_table, shares_table
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.single import named_splits, single_splits
from robustcmr.terminal import Console
from robustcmr.training import processes
from robustcmr.training.interrupt import TrainingStopped

RANKS_WIDTH = 92  # columns a table with ranks takes, names of the rows included


@contextmanager
def running() -> Iterator[Console]:
    """Show notes on stderr during a job, and say how to resume a training that is stopped.

    Of several processes, only the one that writes speaks.
    """
    speaks = processes.is_writer()
    console = Console(stderr=True, quiet=not speaks)
    try:
        with shown_notes(console):
            yield console
    except TrainingStopped as stop:
        if speaks:
            how = "and saved; resume" if stop.saved else "at once; resume from the last checkpoint"
            note(f"stopped {how} with: robustcmr train --resume {typed(str(stop.folder))}")
        if stop.saved:  # all processes stopped at the same step
            processes.leave()
        raise typer.Exit(128 + stop.signal_number) from None
    else:
        processes.leave()


def report_run(run: RunFolder, as_json: bool, verbose: bool = False) -> None:
    """Print the outcome of a finished run: a short table and sentences, all of it if verbose, or its JSON."""
    results = run.read_results() or {}
    if as_json:
        print_json(results)
        return
    console = Console()
    findings = results.get("findings", {})
    lines = sentences.measured_sentences(results)
    if single_splits(results):
        lines.insert(
            1, "Single: the mean over the models, each measured alone; the others average their scores."
        )
    if verbose:
        print_measures(console, named_splits(results))
        print_findings(console, findings, results["best_epoch"])
        lines = [f"{sentences.models_sentence(results)}.", *lines[1:], cost_sentence(results)]
    else:
        console.print(measures_table(named_splits(results)))
    if "changed" in findings:
        lines.append(f"All classes are in {run.labels}.")
    lines += [f"The run is in {run.path}.", f"Write its page: robustcmr report {typed(run.path)}"]
    if findings.get("suspected") or findings.get("changed"):
        what = "labels" if "changed" in findings else "pairs"
        lines.append(f"List the worst {what}: robustcmr suspects {typed(run.path)}")
    say(*lines)


def print_measures(console: Console, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Print retrieval by row: mAP of labelled data, or recalls, with ranks where there is room for them."""
    console.print(measures_table(results, ranks=console.width >= RANKS_WIDTH))


def print_findings(console: Console, findings: Mapping[str, Any], epoch: int) -> None:
    """Print how well a method's division, rematching or corrected labels agree with the truth, if known."""
    for key, row, columns in (
        ("division", f"train, epoch {epoch}", DIVISION),
        ("rematch", f"during epoch {epoch}", REMATCH),
        ("correction", f"train, epoch {epoch}", CORRECTION),
    ):
        if key in findings:
            console.print(shares_table({row: findings[key]}, columns))


def cost_sentence(results: Mapping[str, Any]) -> str:
    """Return which epoch was best, and what the run cost."""
    memory = results["peak_memory_bytes"]["cpu"] / 2**30
    return (
        f"{sentences.epoch_clause(results)}; training took "
        f"{results['seconds']:.0f} s, {memory:.1f} GiB of memory and {results['parameters']:,} parameters."
    )
