"""Where the trials of a sweep stand: state, epoch, best score so far, and how long it may still take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustcmr.errors import RunFolderError
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.read import HEADLINES
from robustcmr.sweeps.folder import Record, SweepFolder
from robustcmr.sweeps.locks import is_held
from robustcmr.sweeps.process import is_finished

STATES = ("finished", "running", "interrupted", "failed", "waiting")


@dataclass(frozen=True)
class Standing:
    """One trial as it is now.

    Attributes:
        trial: its name.
        state: one of :data:`STATES`.
        epoch: how many epochs have ended.
        epochs: how many there will be.
        split: the split that chooses the best epoch.
        measure: what chooses it, ``rsum`` or ``map``.
        best: the best of it so far; None before the first epoch has ended.
        seconds: how long it ran, over all its starts that ended.
        reason: why it failed, or what keeps it from going on.
    """

    trial: str
    state: str
    epoch: int
    epochs: int
    split: str
    measure: str
    best: float | None
    seconds: float
    reason: str | None


def state_now(record: Record, folder: SweepFolder, alive: bool) -> tuple[str, str | None]:
    """State of a trial by its run folder first, and by what was noted second; and why it failed.

    Args:
        record: what was noted.
        folder: of the sweep.
        alive: whether a process runs the sweep now.
    """
    run = folder.run(record.trial.name)
    if is_finished(run):
        return "finished", None
    if record.state == "failed":
        return "failed", record.reason
    if record.state == "running" and alive:
        return "running", None
    if record.state == "running" and is_held(folder.trial_lock(record.trial.name)):
        return "running", None  # the sweep was killed, this trial goes on to its end
    damaged = run.holds_run and run.results.exists()
    if damaged or record.state in ("running", "interrupted", "finished") or run.path.is_dir():
        reason = "results.json is damaged, it will be measured again" if damaged else None
        lost = record.state == "finished" and not run.path.exists()
        return (
            ("waiting", "its run folder is gone, it will be trained again")
            if lost
            else ("interrupted", reason)
        )
    return "waiting", None


def standing(record: Record, folder: SweepFolder, alive: bool) -> Standing:
    """A trial as it is now.

    Args:
        record: what was noted of it.
        folder: of the sweep.
        alive: whether a process runs the sweep now.
    """
    trial = record.trial
    state, reason = state_now(record, folder, alive)
    measure = HEADLINES.get(trial.track, "")
    rows = [] if state == "waiting" else epoch_rows(folder.run(trial.name))
    scores = [row.get(trial.select, {}).get(measure) for row in rows]
    known = [float(score) for score in scores if isinstance(score, (int, float))]
    return Standing(
        trial=trial.name,
        state=state,
        epoch=len(rows),
        epochs=trial.epochs,
        split=trial.select,
        measure=measure,
        best=max(known, default=None),
        seconds=record.seconds,
        reason=reason,
    )


def standings(folder: SweepFolder) -> list[Standing]:
    """All trials of a sweep folder as they are now, in the order they shall run.

    Raises:
        SweepError: there is no sweep, or its file of trials is damaged.
    """
    folder.require()
    alive = is_held(folder.lock)
    return [standing(record, folder, alive) for record in folder.read().values()]


def counts(states: Iterable[str]) -> dict[str, int]:
    """How many trials are in each state, those of :data:`STATES` in this order."""
    found = list(states)
    return {state: found.count(state) for state in STATES}


def count_words(counted: Mapping[str, int]) -> str:
    """Such as ``38 finished, 2 failed``; states without a trial are left out."""
    return ", ".join(f"{count} {state}" for state, count in counted.items() if count) or "no trials"


def epoch_rows(run: RunFolder) -> list[dict[str, Any]]:
    """The epochs that ended; none where the file is missing or damaged."""
    try:
        return run.read_metrics()
    except RunFolderError:
        return []


def seconds_left(
    whole: Sequence[float], running: Sequence[tuple[float, float]], waiting: int, slots: int
) -> float | None:
    """How long a sweep may still take.

    Args:
        whole: seconds that each finished trial took.
        running: (seconds so far, share done in [0, 1]) of each running trial.
        waiting: how many trials are not begun.
        slots: trials at a time.

    Returns:
        Seconds; None while nothing tells how long a trial takes.
    """
    ends = [seconds / share for seconds, share in running if share > 0]
    guesses = [*whole, *ends]
    if not guesses:
        return None
    usual = sum(guesses) / len(guesses)
    rest = [(seconds / share if share > 0 else max(usual, seconds)) - seconds for seconds, share in running]
    # no trial is split, so it takes at least as long as the longest of those that run
    return max([(sum(rest) + waiting * usual) / slots, *rest])


def duration_words(seconds: float) -> str:
    """Such as ``45 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
