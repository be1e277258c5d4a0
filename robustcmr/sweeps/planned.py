"""Runs that a comparison of some folders should hold, finished or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from robustcmr.errors import UserError, some_of
from robustcmr.locks import is_held
from robustcmr.reporting.compared import FINISHED, PlannedRun
from robustcmr.runs.read import DEPTH, FoundRuns
from robustcmr.sweeps.folder import SweepFolder
from robustcmr.sweeps.progress import state_now


def planned_runs(paths: Sequence[Path], found: FoundRuns) -> tuple[tuple[PlannedRun, ...], tuple[str, ...]]:
    """Return every trial of the sweeps among some folders, and what a reader must know of the rest.

    Args:
        paths: run folders, folders of them, or sweep folders.
        found: the runs in them.

    Returns:
        The trials; and a sentence for each sweep whose trials cannot be read, and for other runs left out.
    """
    read = {run.path.resolve() for run in found.finished}
    damaged = {path.resolve() for path in found.damaged}
    planned: dict[Path, PlannedRun] = {}
    notes = []
    for sweep in _sweeps(paths):
        try:
            records, alive = sweep.read(), is_held(sweep.lock)
        except UserError as error:
            notes.append(f"whether the sweep {sweep.path} is complete is not known: {error}")
            continue
        for name, record in records.items():
            run = sweep.run(name).path
            state, _ = state_now(record, sweep, alive)
            if (real := run.resolve()) in damaged:
                state = "damaged"
            elif real in read:
                state = FINISHED
            choices = {**record.trial.choices, "seed": record.trial.seed}
            planned.setdefault(real, PlannedRun(run, state, choices, sweep.path))
    left_out = {**dict.fromkeys(found.unfinished, "not finished"), **dict.fromkeys(found.damaged, "damaged")}
    others = [f"{path} ({why})" for path, why in left_out.items() if path.resolve() not in planned]
    if others:
        notes.append(f"some runs were left out: {some_of(others)}")
    return tuple(planned.values()), tuple(notes)


def _sweeps(paths: Sequence[Path]) -> Iterator[SweepFolder]:
    for path in paths:
        inside = path.parent if path.name == "trials" else path
        yield from _below(inside, DEPTH - 2)  # its runs lie two levels deeper


def _below(path: Path, depth: int) -> Iterator[SweepFolder]:
    folder = SweepFolder(path)
    if folder.holds_sweep:
        yield folder
    elif depth > 0:
        for child in sorted(child for child in path.iterdir() if child.is_dir()):
            yield from _below(child, depth - 1)
