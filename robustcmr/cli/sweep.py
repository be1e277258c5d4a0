"""``robustcmr sweep``: grids of runs, started, gone on with, looked at and compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robustcmr.sweeps.execute import Outcome
    from robustcmr.sweeps.folder import SweepFolder
    from robustcmr.sweeps.options import ExecutionOptions
    from robustcmr.sweeps.trials import Trial

app = typer.Typer(help="Run a grid of trials, and compare them.", no_args_is_help=True)

SweepFolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="A sweep folder.")]
Jobs = Annotated[
    int | None, typer.Option(help="Trials at a time; by default one, or one a GPU, or as Ray has room for.")
]
Threads = Annotated[int | None, typer.Option(help="Threads a trial; its share of the cores by default.")]
ExecutorName = Annotated[
    str | None, typer.Option("--executor", help="local: processes here; ray: a Ray cluster.")
]
Address = Annotated[
    str | None, typer.Option(help="The Ray cluster's address; one is started here by default.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try trials that failed again.")]


@app.command("run")
def run(
    sweep: Annotated[
        str, typer.Argument(metavar="SWEEP", help="A sweep file: a path, or the name of a shipped one.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Sweep folder; sweeps/NAME by default.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set any key of every trial, such as data.root=DIR."),
    ] = None,
    jobs: Jobs = None,
    threads: Threads = None,
    executor: ExecutorName = None,
    address: Address = None,
    retry_failed: RetryFailed = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the trials and stop.")] = False,
) -> None:
    """Run every trial of a sweep that has not finished yet; each is an ordinary run folder.

    All configurations are checked before the first trial starts. In a sweep folder that is there already,
    trials new in the sweep file are added and finished ones are left alone.
    """
    from robustcmr.sweeps.folder import SweepFolder
    from robustcmr.sweeps.locks import sole_user
    from robustcmr.sweeps.options import read_sweep
    from robustcmr.sweeps.trials import plan_trials, with_overrides

    options = with_overrides(read_sweep(sweep), overrides or [])
    execution = _execution(options.execution, jobs, threads, executor, address)
    options = options.model_copy(update={"execution": execution})
    folder = SweepFolder(output if output is not None else Path("sweeps") / options.name)
    folder.check_free()
    planned = plan_trials(options, f"the sweep {sweep}")
    if dry_run:
        _print_plan(folder, [entry.trial for entry in planned], execution)
        return
    with sole_user(folder.lock, f"the sweep folder {folder.path}"):
        folder.check_free()
        new = folder.write_plan(options, planned)
        sys.stderr.write(f"sweep folder {folder.path}: {len(new)} of {len(planned)} trials are new\n")
        _run(folder, execution, retry_failed)


@app.command("resume")
def resume(
    folder: SweepFolderArgument,
    jobs: Jobs = None,
    threads: Threads = None,
    executor: ExecutorName = None,
    address: Address = None,
    retry_failed: RetryFailed = False,
) -> None:
    """Go on with a sweep that was stopped or killed, to the same numbers as if it had not been.

    Jobs, threads and executor are those it was started with, unless others are given.
    """
    from robustcmr.sweeps.folder import SweepFolder
    from robustcmr.sweeps.locks import sole_user

    sweep = SweepFolder(folder)
    sweep.require()
    execution = _execution(sweep.read_options().execution, jobs, threads, executor, address)
    with sole_user(sweep.lock, f"the sweep folder {folder}"):
        _run(sweep, execution, retry_failed)


@app.command("status")
def status(
    folder: SweepFolderArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print the trials as JSON.")] = False,
) -> None:
    """Say where every trial of a sweep stands."""
    from dataclasses import asdict

    from rich.console import Console

    from robustcmr.cli.output import print_json
    from robustcmr.sweeps.display import status_table
    from robustcmr.sweeps.folder import SweepFolder
    from robustcmr.sweeps.locks import is_held
    from robustcmr.sweeps.progress import count_words, counts, standings

    sweep = SweepFolder(folder)
    rows = standings(sweep)
    counted = counts(row.state for row in rows)
    alive = is_held(sweep.lock)
    if as_json:
        trials = [asdict(row) for row in rows]
        print_json({"sweep": str(folder), "alive": alive, "counts": counted, "trials": trials})
        return
    console = Console()
    if rows:
        console.print(status_table(rows))
    now = "a process runs it now" if alive else "no process runs it now"
    console.print(f"{count_words(counted)} of {len(rows)}; {now}", highlight=False, soft_wrap=True)
    for row in rows:
        if row.state == "failed":
            console.print(
                f"what {row.trial} said: {sweep.failure(row.trial)}", highlight=False, soft_wrap=True
            )
    if not alive and any(row.state in ("waiting", "interrupted", "running") for row in rows):
        console.print(f"go on with: robustcmr sweep resume {folder}", highlight=False, soft_wrap=True)


@app.command("report")
def report(
    folder: SweepFolderArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Page to write; FOLDER/report.html by default.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to compare.")] = "test",
    mixed: Annotated[
        bool,
        typer.Option("--mixed", help="Allow different data, protocols or noise files, and mark every row."),
    ] = False,
    against: Annotated[
        str | None, typer.Option(metavar="METHOD", help="Hold others against this; the best by default.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table, csv, markdown, latex or json.")] = "table",
) -> None:
    """Compare the trials that have finished: a table, and a page with curves and links to the runs."""
    from robustcmr.cli.compare import check_format, print_comparison, tell_left_out
    from robustcmr.errors import SweepError
    from robustcmr.files import write_text
    from robustcmr.reporting.comparison import compare as compare_runs
    from robustcmr.reporting.page.sweep_page import sweep_page
    from robustcmr.runs.read import find_runs
    from robustcmr.sweeps.folder import SweepFolder

    sweep = SweepFolder(folder)
    sweep.require()
    check_format(form)
    if not sweep.trials.is_dir() or not (found := find_runs([sweep.trials])).finished:
        raise SweepError(
            f"no trial of {folder} has finished; go on with it by 'robustcmr sweep resume {folder}'"
        )
    page = output if output is not None else sweep.report
    tell_left_out(found)
    comparison = compare_runs(found.finished, split, mixed, against)
    print_comparison(comparison, form, None)
    write_text(page, sweep_page(comparison, f"Sweep {folder.resolve().name}", page.parent))
    sys.stderr.write(f"wrote {page}\n")


def _execution(
    given: ExecutionOptions, jobs: int | None, threads: int | None, executor: str | None, address: str | None
) -> ExecutionOptions:
    """What a sweep says of its execution, with the command line's options over it."""
    from pydantic import ValidationError

    from robustcmr.config.problems import sentences
    from robustcmr.errors import SweepError
    from robustcmr.sweeps.options import ExecutionOptions, listed

    flags = {"jobs": jobs, "threads": threads, "executor": executor, "address": address}
    told: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
    try:
        execution = ExecutionOptions.model_validate({**given.model_dump(), **told})
    except ValidationError as error:
        raise listed(sentences(ExecutionOptions, error, "--", ()), "the command") from error
    if execution.address is not None and execution.executor != "ray":
        raise SweepError(
            f"--address is {execution.address}, which only the executor ray has a use for; "
            "add --executor ray, or leave --address out"
        )
    return execution


def _run(folder: SweepFolder, execution: ExecutionOptions, retry_failed: bool) -> None:
    from rich.console import Console

    from robustcmr.errors import SweepError
    from robustcmr.sweeps.display import Display
    from robustcmr.sweeps.execute import build_executor, due_trials, end_orphans, run_trials
    from robustcmr.sweeps.progress import standings

    if not folder.read():
        raise SweepError(
            f"{folder.path} holds no trial, its planning was cut off; plan it again by 'robustcmr sweep run' "
            f"with --output {folder.path}"
        )
    due = due_trials(folder, retry_failed)
    if not due:
        states = [row.state for row in standings(folder)]
        sys.stderr.write("no trial is left to run\n")
        if "failed" in states:
            sys.stderr.write(
                f"{states.count('failed')} failed before; see 'robustcmr sweep status {folder.path}', "
                "and try them again with --retry-failed\n"
            )
        return
    display = Display(Console(stderr=True))
    end_orphans(folder, due, display.say)
    executor = build_executor(execution, folder)
    display.say(f"{len(due)} trials to run, {executor.shares.describe()}")
    outcome = run_trials(folder, due, executor, display)
    _report_outcome(folder, outcome)


def _report_outcome(folder: SweepFolder, outcome: Outcome) -> None:
    """Say how a sweep ended, and leave with a code that says it too."""
    from robustcmr.sweeps.progress import count_words

    total = sum(outcome.counted.values())
    sys.stdout.write(f"{count_words(outcome.counted)} of {total} trials in {folder.path}\n")
    for name, reason in outcome.failed.items():
        sys.stdout.write(f"failed: {name}: {reason}; what it said is in {folder.failure(name)}\n")
    if outcome.signal_number is not None:
        sys.stderr.write(f"stopped; go on with: robustcmr sweep resume {folder.path}\n")
        raise typer.Exit(128 + outcome.signal_number)
    if outcome.counted["finished"]:
        sys.stdout.write(f"compare them: robustcmr sweep report {folder.path}\n")
    if outcome.counted["finished"] < total:
        raise typer.Exit(1)


def _print_plan(folder: SweepFolder, trials: Sequence[Trial], execution: ExecutionOptions) -> None:
    """Every trial with its state in the sweep folder; nothing is written."""
    from robustcmr.sweeps.progress import count_words, counts, standings

    known = {row.trial: row.state for row in standings(folder)} if folder.holds_sweep else {}
    names = {record.trial.config_hash: name for name, record in folder.read().items()}
    for trial in trials:
        name = names.get(trial.config_hash, trial.name)
        sys.stdout.write(f"{name}  {known.get(name, 'new')}\n")
    rest = "" if not known else f"; {folder.path} holds {count_words(counts(known.values()))}"
    sys.stderr.write(f"{len(trials)} trials in {folder.path} by the executor {execution.executor}{rest}\n")
