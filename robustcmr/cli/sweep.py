"""``robustcmr sweep``: run, resume, inspect and compare grids of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robustcmr.cli.complete import names
from robustcmr.cli.options import (
    Against,
    AsJson,
    Command,
    Format,
    Group,
    Mixed,
    Trust,
    note,
    number,
    output,
    overrides,
    say,
    typed,
    write_out,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robustcmr.sweeps.execute import Outcome
    from robustcmr.sweeps.folder import SweepFolder
    from robustcmr.sweeps.options import ExecutionOptions
    from robustcmr.sweeps.trials import Trial

app = typer.Typer(help="Run a grid of trials, and compare them.", no_args_is_help=True, cls=Group)

Folder = Annotated[Path, typer.Argument(help="A sweep folder.")]
Jobs = Annotated[
    int | None,
    typer.Option(help="Parallel trials; by default one, or one per GPU, or as many as Ray has room for."),
]
Threads = Annotated[int | None, typer.Option(help="Threads per trial; by default its share of the cores.")]
ExecutorName = Annotated[
    str | None, typer.Option("--executor", help="local: processes here; ray: a Ray cluster.")
]
Address = Annotated[
    str | None, typer.Option(help="Address of a Ray cluster; by default one is started here.")
]
Hours = Annotated[
    float | None,
    typer.Option(metavar="FLOAT", help="Start no trial after so many hours.", parser=number("--hours")),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run failed trials again.")]


@app.command("run", cls=Command)
def run(
    sweep: Annotated[
        str,
        typer.Argument(
            help="A sweep file: a path, or the name of a shipped one.", autocompletion=names("sweeps")
        ),
    ],
    target: Annotated[Path | None, output("Sweep folder; sweeps/NAME by default.")] = None,
    settings: Annotated[
        list[str] | None, overrides("Set a key of every trial, such as data.root=DIR.")
    ] = None,
    jobs: Jobs = None,
    threads: Threads = None,
    executor: ExecutorName = None,
    address: Address = None,
    retry_failed: RetryFailed = False,
    hours: Hours = None,
    trusted: Trust = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the trials and stop.")] = False,
) -> None:
    """Run every unfinished trial of a sweep; each is an ordinary run folder.

    All configurations are checked before the first trial starts. An existing
    sweep folder keeps its finished trials and gets the new ones.

    Examples:
      robustcmr sweep run noise_rates_quick --jobs 2
      robustcmr sweep run mine.yaml --set data.root=DIR --executor ray
      robustcmr sweep run mine.yaml --dry-run
    """
    from robustcmr.config import trust
    from robustcmr.config.resolve import apply_overrides
    from robustcmr.jobs.notes import shown_notes
    from robustcmr.locks import sole_user
    from robustcmr.sweeps.folder import SweepFolder
    from robustcmr.sweeps.options import consent_to_cluster, read_sweep, sweep_path
    from robustcmr.sweeps.trials import plan_trials, with_overrides
    from robustcmr.terminal import Console

    console = Console(stderr=True)
    with shown_notes(console):
        options = with_overrides(read_sweep(sweep), settings or [])
    if address is None:
        consent_to_cluster(sweep_path(sweep), options.execution, trusted)
    execution = _execution(options.execution, jobs, threads, executor, address)
    options = options.model_copy(update={"execution": execution})
    folder = SweepFolder(target if target is not None else Path("sweeps") / options.name)
    folder.check_free()
    named = trust.places(apply_overrides({}, settings or []))
    with shown_notes(console):
        planned = plan_trials(options, f"the sweep {sweep}", named.values(), trusted)
    if dry_run:
        _print_plan(folder, [entry.trial for entry in planned], execution)
        return
    with sole_user(folder.lock, f"the sweep folder {folder.path}"):
        folder.check_free()
        new = folder.write_plan(options, planned)
        note(f"sweep folder {folder.path}: {len(new)} of {len(planned)} trials are new")
        _run(folder, execution, retry_failed, trusted, hours)


@app.command("resume", cls=Command)
def resume(
    folder: Folder,
    jobs: Jobs = None,
    threads: Threads = None,
    executor: ExecutorName = None,
    address: Address = None,
    retry_failed: RetryFailed = False,
    hours: Hours = None,
    trusted: Trust = False,
) -> None:
    """Resume a sweep that was stopped or killed; it gives the same numbers as if it had not been.

    Jobs, threads and executor are those it was started with, unless given.

    Examples:
      robustcmr sweep resume sweeps/noise_rates_quick
      robustcmr sweep resume sweeps/mine --retry-failed --jobs 4
    """
    from robustcmr.locks import sole_user
    from robustcmr.sweeps.folder import SweepFolder
    from robustcmr.sweeps.options import consent_to_cluster

    sweep = SweepFolder(folder)
    sweep.require()
    given = sweep.read_options().execution
    if address is None:
        consent_to_cluster(sweep.options, given, trusted)
    execution = _execution(given, jobs, threads, executor, address)
    with sole_user(sweep.lock, f"the sweep folder {folder}"):
        _run(sweep, execution, retry_failed, trusted, hours)


@app.command("status", cls=Command)
def status(folder: Folder, as_json: AsJson = False) -> None:
    """Show the state of every trial of a sweep.

    Examples:
      robustcmr sweep status sweeps/mine
      robustcmr sweep status sweeps/mine --json
    """
    from dataclasses import asdict

    from robustcmr.cli.output import print_json
    from robustcmr.locks import is_held
    from robustcmr.sweeps.display import status_table
    from robustcmr.sweeps.folder import SweepFolder
    from robustcmr.sweeps.progress import count_words, counts, standings
    from robustcmr.terminal import Console

    sweep = SweepFolder(folder)
    rows = standings(sweep)
    counted = counts(row.state for row in rows)
    alive = is_held(sweep.lock)
    if as_json:
        trials = [asdict(row) for row in rows]
        print_json({"sweep": str(folder), "alive": alive, "counts": counted, "trials": trials})
        return
    if rows:
        Console().print(status_table(rows))
    now = "a process runs it now" if alive else "no process runs it now"
    lines = [f"{count_words(counted)} of {len(rows)}; {now}"]
    lines += [f"stderr of {row.trial}: {sweep.failure(row.trial)}" for row in rows if row.state == "failed"]
    if not alive and any(row.state in ("waiting", "interrupted", "running") for row in rows):
        lines.append(f"resume with: robustcmr sweep resume {typed(folder)}")
    say(*lines)


@app.command("report", cls=Command)
def report(
    folder: Folder,
    target: Annotated[Path | None, output("Page to write; FOLDER/report.html by default.")] = None,
    split: Annotated[str, typer.Option(help="Split to compare.")] = "test",
    mixed: Mixed = False,
    against: Against = None,
    form: Format = "table",
) -> None:
    """Compare the finished trials: a table, and a page with curves and links to the runs.

    Examples:
      robustcmr sweep report sweeps/mine
      robustcmr sweep report sweeps/mine --against hinge --format csv
    """
    from robustcmr.cli.compare import check_format, print_comparison, tell_left_out
    from robustcmr.errors import SweepError
    from robustcmr.reporting.comparison import compare as compare_runs
    from robustcmr.reporting.comparison_page import comparison_page
    from robustcmr.runs.read import find_runs
    from robustcmr.sweeps.folder import SweepFolder
    from robustcmr.sweeps.planned import planned_runs

    sweep = SweepFolder(folder)
    sweep.require()
    check_format(form)
    if not sweep.trials.is_dir() or not (found := find_runs([sweep.trials])).finished:
        raise SweepError(
            f"no trial of {folder} has finished; resume it with 'robustcmr sweep resume {folder}'"
        )
    page = target if target is not None else sweep.report
    tell_left_out(found)
    planned, notes = planned_runs([folder], found)
    comparison = compare_runs(found.finished, split, mixed, against, planned=planned, notes=notes)
    print_comparison(comparison, form, None)
    write_out(comparison_page(comparison, f"Sweep {folder.resolve().name}", page.parent), page)


def _execution(
    given: ExecutionOptions, jobs: int | None, threads: int | None, executor: str | None, address: str | None
) -> ExecutionOptions:
    """Return the execution options of a sweep, overridden by those of the command line."""
    from pydantic import ValidationError

    from robustcmr.config.problems import sentences
    from robustcmr.errors import SweepError
    from robustcmr.sweeps.options import ExecutionOptions, listed

    flags = {"jobs": jobs, "threads": threads, "executor": executor, "address": address}
    chosen: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
    try:
        execution = ExecutionOptions.model_validate({**given.model_dump(), **chosen})
    except ValidationError as error:
        raise listed(sentences(ExecutionOptions, error, "--", ()), "the command") from error
    if execution.address is not None and execution.executor != "ray":
        raise SweepError(
            f"--address is {execution.address}, which needs the executor ray; add --executor ray, or leave "
            "--address out"
        )
    return execution


def _run(
    folder: SweepFolder,
    execution: ExecutionOptions,
    retry_failed: bool,
    trusted: bool,
    hours: float | None,
) -> None:
    from robustcmr.errors import SweepError
    from robustcmr.sweeps.display import Display
    from robustcmr.sweeps.execute import build_executor, due_trials, end_orphans, run_trials
    from robustcmr.sweeps.progress import standings
    from robustcmr.terminal import Console

    if not folder.read():
        raise SweepError(
            f"{folder.path} holds no trial, as its planning was interrupted; plan it again with 'robustcmr "
            f"sweep run' and --output {folder.path}"
        )
    due = due_trials(folder, retry_failed, trusted)
    if not due:
        states = [row.state for row in standings(folder)]
        note("no trial is left to run")
        if "failed" in states:
            note(
                f"{states.count('failed')} failed before; see: robustcmr sweep status {typed(folder.path)}; "
                "run them again with --retry-failed"
            )
        return
    display = Display(Console(stderr=True))
    end_orphans(folder, due, display.say)
    executor = build_executor(execution, folder)
    display.say(f"{len(due)} trials to run, {executor.shares.describe()}")
    outcome = run_trials(folder, due, executor, display, trusted=trusted, hours=hours)
    _report_outcome(folder, outcome)


def _report_outcome(folder: SweepFolder, outcome: Outcome) -> None:
    """Print how a sweep ended, and exit with a matching code."""
    from robustcmr.sweeps.progress import count_words

    total = sum(outcome.counted.values())
    say(f"{count_words(outcome.counted)} of {total} trials in {folder.path}")
    for name, reason in outcome.failed.items():
        say(f"failed: {name}: {reason}; its stderr is in {folder.failure(name)}")
    if outcome.signal_number is not None:
        note(f"stopped; resume with: robustcmr sweep resume {typed(folder.path)}")
        raise typer.Exit(128 + outcome.signal_number)
    if outcome.counted["finished"]:
        say(f"compare them: robustcmr sweep report {typed(folder.path)}")
    if outcome.counted["finished"] < total:
        raise typer.Exit(1)


def _print_plan(folder: SweepFolder, trials: Sequence[Trial], execution: ExecutionOptions) -> None:
    """List every trial with its state in the sweep folder; nothing is written."""
    from robustcmr.sweeps.progress import count_words, counts, standings

    known = {row.trial: row.state for row in standings(folder)} if folder.holds_sweep else {}
    names = {record.trial.config_hash: name for name, record in folder.read().items()}
    for trial in trials:
        name = names.get(trial.config_hash, trial.name)
        say(f"{name}  {known.get(name, 'new')}")
    rest = "" if not known else f"; {folder.path} holds {count_words(counts(known.values()))}"
    note(f"{len(trials)} trials in {folder.path} by the executor {execution.executor}{rest}")
