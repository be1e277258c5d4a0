"""Progress of the trials of a sweep: state, epoch, best score so far, and time left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from robustcmr.errors import RunFolderError
from robustcmr.locks import is_held
from robustcmr.runs.read import HEADLINES
from robustcmr.sweeps.folder import Record, SweepFolder
from robustcmr.sweeps.process import is_finished

STATES = ("finished", "running", "interrupted", "failed", "waiting")


@dataclass(frozen=True)
class Standing:
    """The current progress of a trial."""

    trial: str  # its name
    state: str  # one of STATES
    epoch: int  # epochs done
    epochs: int  # epochs in total
    split: str  # the split that chooses the best epoch
    measure: str  # that chooses it, rsum or map
    best: float | None  # of the measure; None before the first epoch has ended
    seconds: float  # run time, over all starts that have ended
    reason: str | None  # why it failed, or what happened to its results


def state_now(record: Record, folder: SweepFolder, alive: bool) -> tuple[str, str | None]:
    """Return the state of a trial and the reason for it; its run folder overrides its record.

    ``alive`` says whether a process is running the sweep.
    """
    run = folder.run(record.trial.name)
    if is_finished(run):
        return "finished", None
    if record.state == "failed":
        return "failed", record.reason
    if record.state == "running" and (alive or is_held(folder.trial_lock(record.trial.name))):
        return "running", None  # a trial outlives a killed sweep
    if run.holds_run and run.results.exists():
        return "interrupted", "results.json is damaged, it will be measured again"
    if record.state == "finished" and not run.path.exists():
        return "waiting", "its run folder is gone, it will be trained again"
    return ("interrupted" if record.state != "waiting" or run.path.is_dir() else "waiting"), None


def standing(record: Record, folder: SweepFolder, alive: bool) -> Standing:
    """Return the current progress of a trial; for the arguments see :func:`state_now`."""
    trial = record.trial
    state, reason = state_now(record, folder, alive)
    measure = HEADLINES.get(trial.track, "")
    try:
        rows = [] if state == "waiting" else folder.run(trial.name).read_metrics()
    except RunFolderError:
        rows = []
    groups = [row[trial.select] for row in rows if isinstance(row.get(trial.select), dict)]
    known = [float(group[measure]) for group in groups if measure in group]
    best = max(known, default=None)
    return Standing(
        trial.name, state, len(rows), trial.epochs, trial.select, measure, best, record.seconds, reason
    )


def standings(folder: SweepFolder) -> list[Standing]:
    """Return the progress of all trials, in the order to run them; raise SweepError if there is no sweep."""
    folder.require()
    alive = is_held(folder.lock)
    return [standing(record, folder, alive) for record in folder.read().values()]


def counts(states: Iterable[str]) -> dict[str, int]:
    """Return the number of trials in each state, in the order of :data:`STATES`."""
    found = list(states)
    return {state: found.count(state) for state in STATES}


def count_words(counted: Mapping[str, int]) -> str:
    """Return such as ``38 finished, 2 failed``; states without a trial are left out."""
    return ", ".join(f"{count} {state}" for state, count in counted.items() if count) or "no trials"


def seconds_left(
    whole: Sequence[float], running: Sequence[tuple[float, float]], waiting: int, slots: int
) -> float | None:
    """Estimate the time a sweep still needs.

    Args:
        whole: seconds that each finished trial took.
        running: (seconds so far, share done in [0, 1]) of each running trial.
        waiting: trials not started.
        slots: parallel trials.

    Returns:
        Seconds; None as long as no trial shows how long one takes.
    """
    guesses = [*whole, *(seconds / share for seconds, share in running if share > 0)]
    if not guesses:
        return None
    usual = sum(guesses) / len(guesses)
    rest = [(seconds / share if share > 0 else max(usual, seconds)) - seconds for seconds, share in running]
    # a trial cannot be split, so the sweep takes at least as long as the longest running trial
    return max([(sum(rest) + waiting * usual) / slots, *rest])


def duration_words(seconds: float) -> str:
    """Return such as ``45 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
