"""Running the trials of a sweep folder: what is due is started, what ends is noted, a stop is passed on."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from robustcmr.config.resolve import resolve
from robustcmr.errors import ConfigError
from robustcmr.files import write_text
from robustcmr.signals import SignalWatch
from robustcmr.sweeps import locks
from robustcmr.sweeps.display import Board, Display, ended_line
from robustcmr.sweeps.errors import SweepError, listed
from robustcmr.sweeps.folder import Record, SweepFolder
from robustcmr.sweeps.local import Executor, LocalExecutor
from robustcmr.sweeps.options import ExecutionOptions
from robustcmr.sweeps.process import (
    ORPHAN_SECONDS,
    PROGRAM,
    Ended,
    Job,
    ask_to_stop,
    failure_text,
    state_after,
)
from robustcmr.sweeps.progress import counts, seconds_left, standing, state_now
from robustcmr.sweeps.shares import local_shares, usable_cores, usable_gpus

LOOK_SECONDS = 0.2
DRAW_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended.

    Attributes:
        counted: trials by state.
        failed: the failed ones with their reasons.
        signal_number: the signal that stopped it; None where it came to its end.
    """

    counted: dict[str, int]
    failed: dict[str, str]
    signal_number: int | None


class StopSignals(SignalWatch):
    """A context in which SIGINT, SIGTERM and SIGHUP are counted in place of ending this process."""

    def __init__(self) -> None:
        super().__init__((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        self.number: int | None = None
        self.count = 0

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        self.count += 1


def due_trials(folder: SweepFolder, retry_failed: bool) -> list[Record]:
    """Trials to run now: waiting and interrupted ones, and on request those that failed.

    Args:
        folder: of the sweep, its lock held by this process.
        retry_failed: whether failed ones are tried again.

    Raises:
        SweepError: the configuration of some is missing, or this version does not take it; all are listed.
    """
    due = []
    faults: dict[str, list[str]] = {}
    for record in folder.compact().values():
        state, _ = state_now(record, folder, alive=False)
        if state == "finished" or (state == "failed" and not retry_failed):
            continue
        due.append(record)
        name = record.trial.name
        try:
            resolve(folder.stored_config(name))
        except (ConfigError, SweepError) as error:
            by = f"{folder.config(name).name} was written by robustcmr {record.trial.version}: "
            faults.setdefault(str(error), []).append(by)
    if faults:
        raise listed(
            [
                f"{told[0]}{text}{f' (and {len(told) - 1} more like it)' if len(told) > 1 else ''}; plan it "
                "anew by 'robustcmr sweep run' with another --output"
                for text, told in faults.items()
            ],
            f"the sweep folder {folder.path}",
        )
    return due


def build_executor(execution: ExecutionOptions, folder: SweepFolder) -> Executor:
    """What runs the trials, as asked for.

    Args:
        execution: the executor and what it shall give each trial.
        folder: of the sweep.

    Raises:
        SweepError: Ray is asked for and cannot be had, or the shares do not fit.
    """
    if execution.executor == "ray":
        from robustcmr.sweeps.ray_cluster import RayExecutor

        return RayExecutor(execution, folder.stop.absolute())
    return LocalExecutor(local_shares(execution, os.environ, usable_cores(), usable_gpus(os.environ)))


def end_orphans(folder: SweepFolder, due: Sequence[Record], say: Callable[[str], None]) -> None:
    """Let trials that go on after their sweep was killed save themselves and end, all at the same time.

    Args:
        folder: of the sweep.
        due: trials that will be started.
        say: told what is waited for.

    Raises:
        SweepError: one does not end.
    """
    held = [path for record in due if locks.is_held(path := folder.trial_lock(record.trial.name))]
    if not held:
        return
    say(
        f"{len(held)} trials outlived their sweep, which was killed; waiting until they have saved themselves"
    )
    for path in held:
        ask_to_stop(path)
    deadline = time.monotonic() + ORPHAN_SECONDS
    while held := [path for path in held if locks.is_held(path)]:
        if time.monotonic() > deadline:
            raise SweepError(
                f"trial {held[0].stem} is still trained by {locks.holder(held[0])} and does not end; "
                "stop that process first"
            )
        time.sleep(LOOK_SECONDS)


def run_trials(
    folder: SweepFolder,
    due: Sequence[Record],
    executor: Executor,
    display: Display,
    program: tuple[str, ...] = PROGRAM,
) -> Outcome:
    """Run trials until all have ended, or until a signal asks to stop.

    The first signal lets the running trials save themselves; a second one ends them at once, and they then go
    on from their last checkpoint.

    Args:
        folder: of the sweep, read, its lock held by this process.
        due: trials to run, in this order.
        executor: what runs their processes.
        display: where they are shown.
        program: the command that ``train`` is given to.
    """
    sweep = _Sweep(folder, due, executor, display, program)
    with StopSignals() as signals, display:
        try:
            sweep.run(signals)
        finally:
            executor.close()
    return sweep.outcome(signals.number)


class _Sweep:
    """What is known while trials run."""

    def __init__(
        self,
        folder: SweepFolder,
        due: Sequence[Record],
        executor: Executor,
        display: Display,
        program: tuple[str, ...],
    ) -> None:
        self.folder, self.executor, self.display, self.program = folder, executor, display, program
        self.queue = deque(due)
        self.running: dict[str, tuple[Record, float, int]] = {}  # with when it began, and epochs done by then
        self.records = folder.read()
        names = {record.trial.name for record in due}
        self.states = {
            name: "waiting" if name in names else state_now(record, folder, alive=True)[0]
            for name, record in self.records.items()
        }
        self.whole: list[float] = []
        self.at_once = False

    def run(self, signals: StopSignals) -> None:
        passed_on, drawn = 0, 0.0
        while self.running or (self.queue and not signals.count):
            if signals.count > passed_on:
                self.at_once = signals.count > 1
                self.executor.stop(self.at_once)
                if not passed_on:
                    self.display.say("stopping: running trials save themselves (again to end them at once)")
                passed_on = signals.count
            while self.queue and len(self.running) < self.executor.shares.jobs and not signals.count:
                self._start(self.queue.popleft())
            for ended in self.executor.poll():
                self._end(ended)
            if time.monotonic() - drawn > DRAW_SECONDS:
                self.display.show(self._board(bool(signals.count)))
                drawn = time.monotonic()
            if self.running:
                time.sleep(LOOK_SECONDS)

    def _start(self, record: Record) -> None:
        name = record.trial.name
        job = Job(
            trial=name,
            config=self.folder.config(name).absolute(),
            run=self.folder.run(name).path.absolute(),
            log=self.folder.log(name).absolute(),
            lock=self.folder.trial_lock(name).absolute(),
            environment={},
            program=self.program,
        )
        done = standing(record, self.folder, alive=True).epoch
        self.records[name] = self.folder.note(name, "running")
        self.states[name] = "running"
        self.running[name] = (self.records[name], time.monotonic(), done)
        self.executor.start(job)

    def _end(self, ended: Ended) -> None:
        name = ended.trial
        del self.running[name]
        log = self.folder.log(name)
        state, reason = state_after(ended, self.folder.run(name), log, self.at_once)
        failure = self.folder.failure(name)
        if state == "failed":
            write_text(failure, _failure_report(ended, reason, log))
        elif state == "finished":
            failure.unlink(missing_ok=True)  # of an earlier try
            self.whole.append(ended.seconds)
        record = self.folder.note(name, state, ended.seconds, reason)
        self.records[name], self.states[name] = record, state
        counted = counts(self.states.values())
        row = standing(record, self.folder, alive=True)
        done = counted["finished"] + counted["failed"]
        self.display.say(ended_line(row, ended.seconds, done, len(self.states), self._left()))

    def _left(self) -> float | None:
        now = time.monotonic()
        shares = []
        for record, began, before in self.running.values():
            epoch = standing(record, self.folder, alive=True).epoch
            shares.append((now - began, (epoch - before) / max(record.trial.epochs - before, 1)))
        return seconds_left(self.whole, shares, len(self.queue), self.executor.shares.jobs)

    def _board(self, stopping: bool) -> Board:
        now = time.monotonic()
        rows = [
            (standing(record, self.folder, alive=True), now - began)
            for record, began, _ in self.running.values()
        ]
        return Board(self.folder.path.name, counts(self.states.values()), rows, self._left(), stopping)

    def outcome(self, number: int | None) -> Outcome:
        """How it ended."""
        failed = {
            name: self.records[name].reason or "" for name, state in self.states.items() if state == "failed"
        }
        for name, state in self.states.items():  # begun before, and not reached this time
            if state == "waiting":
                self.states[name] = state_now(self.records[name], self.folder, alive=False)[0]
        return Outcome(counts(self.states.values()), failed, number)


def _failure_report(ended: Ended, reason: str | None, log: Path) -> str:
    code = "no exit code" if ended.code is None else f"exit code {ended.code}"
    return (
        f"{ended.trial}: {reason}\n{code} after {ended.seconds:.1f} s; what it said:\n\n{failure_text(log)}"
    )
