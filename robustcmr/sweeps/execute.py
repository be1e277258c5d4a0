"""Run the trials of a sweep folder: start those due, record those that end, and pass on a stop."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from robustcmr import locks
from robustcmr.config.resolve import run_config
from robustcmr.errors import ConfigError
from robustcmr.files import write_text
from robustcmr.signals import SignalWatch
from robustcmr.sweeps.display import Display, board_view, ended_line
from robustcmr.sweeps.folder import Record, SweepFolder
from robustcmr.sweeps.local import Executor, LocalExecutor, local_shares, usable_cores, usable_gpus
from robustcmr.sweeps.options import ExecutionOptions, listed
from robustcmr.sweeps.process import (
    LOOK_SECONDS,
    PROGRAM,
    Ended,
    Job,
    ask_to_stop,
    log_end,
    state_after,
    take_trial,
)
from robustcmr.sweeps.progress import Standing, counts, seconds_left, standing, state_now

DRAW_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome:
    """The end of a sweep."""

    counted: dict[str, int]  # trials by state
    failed: dict[str, str]  # reasons of the failed ones
    signal_number: int | None  # that stopped the sweep; None if all its trials ended


def due_trials(folder: SweepFolder, retry_failed: bool, trusted: bool = False) -> list[Record]:
    """Return the trials to run now: waiting and interrupted ones, and failed ones if ``retry_failed``.

    The caller must hold the lock of the folder. ``trusted`` is consent to the code that configurations name.

    Raises:
        TrustError: the configuration of a trial names code without consent.
        SweepError: the configuration of a trial is missing, or this version refuses it; all are listed.
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
            run_config(folder.config(name), trusted)
        except ConfigError as error:
            writer = f"{folder.config(name).name} was written by robustcmr {record.trial.version}: "
            text = str(error).removeprefix(f"{folder.config(name)}: ")
            faults.setdefault(text, []).append(writer)
    if faults:
        raise listed(
            [
                f"{writers[0]}{text}{f' (and {len(writers) - 1} more like it)' if len(writers) > 1 else ''}; "
                "plan it again with 'robustcmr sweep run' and another --output"
                for text, writers in faults.items()
            ],
            f"the sweep folder {folder.path}",
        )
    return due


def build_executor(execution: ExecutionOptions, folder: SweepFolder) -> Executor:
    """Return the requested executor; raise SweepError if it is not available or the shares do not fit."""
    if execution.executor == "ray":
        from robustcmr.sweeps.ray_cluster import RayExecutor

        return RayExecutor(execution, folder.stop.absolute())
    return LocalExecutor(local_shares(execution, os.environ, usable_cores(), usable_gpus(os.environ)))


def end_orphans(folder: SweepFolder, due: Sequence[Record], say: Callable[[str], None]) -> None:
    """Ask due trials that outlived a killed sweep to save and exit; raise SweepError if one does not."""
    held = [path for record in due if locks.is_held(path := folder.trial_lock(record.trial.name))]
    if not held:
        return
    say(f"{len(held)} trials outlived their killed sweep; waiting for them to save and exit")
    for path in held:
        ask_to_stop(path)
    for path in held:
        os.close(take_trial(path))


def run_trials(
    folder: SweepFolder,
    due: Sequence[Record],
    executor: Executor,
    display: Display,
    program: tuple[str, ...] = PROGRAM,
    trusted: bool = False,
    hours: float | None = None,
) -> Outcome:
    """Run trials until all have ended, or until a signal.

    The first signal lets the running trials save; a second one kills them, and they resume from their last
    checkpoint.

    The caller must hold the lock of the folder. ``train`` is passed to ``program``, with ``--trust`` if
    ``trusted``. After ``hours`` no trial is started; those that run end.
    """
    sweep = _Sweep(folder, executor, display, program, due, trusted, hours)
    with SignalWatch((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)) as signals, display:
        try:
            sweep.run(signals)
        finally:
            executor.close()
    return sweep.outcome(signals.number)


@dataclass
class _Sweep:
    """State of a sweep while its trials run."""

    folder: SweepFolder
    executor: Executor
    display: Display
    program: tuple[str, ...]
    due: Sequence[Record]
    trusted: bool
    hours: float | None = None

    def __post_init__(self) -> None:
        self.queue = deque(record.trial.name for record in self.due)
        self.running: dict[str, tuple[float, int]] = {}  # time of the start, epochs done by then
        self.records = self.folder.read()
        self.states = {
            name: "waiting" if name in self.queue else state_now(record, self.folder, alive=True)[0]
            for name, record in self.records.items()
        }
        self.durations: list[float] = []  # of finished trials, in seconds
        self.at_once = False

    def run(self, signals: SignalWatch) -> None:
        passed_on, drawn = 0, 0.0
        last = math.inf if self.hours is None else time.monotonic() + 3600 * self.hours
        while self.running or (self.queue and not signals.count):
            if self.queue and time.monotonic() >= last:
                self.display.say(f"the {self.hours:g} hours are over: {len(self.queue)} trials are left")
                self.queue.clear()
            if signals.count > passed_on:
                self.at_once = signals.count > 1
                self.executor.stop(self.at_once)
                if not passed_on:
                    self.display.say("stopping: running trials save and exit (repeat to kill them)")
                passed_on = signals.count
            while self.queue and len(self.running) < self.executor.shares.jobs and not signals.count:
                self._start(self.queue.popleft())
            for ended in self.executor.poll():
                self._end(ended)
            if time.monotonic() - drawn > DRAW_SECONDS:
                self._draw("stopping, trials save themselves" if signals.count else self.folder.path.name)
                drawn = time.monotonic()
            if self.running:
                time.sleep(LOOK_SECONDS)

    def _note(self, name: str, state: str, seconds: float = 0.0, reason: str | None = None) -> None:
        self.records[name] = self.folder.note(name, state, seconds, reason)
        self.states[name] = state

    def _standing(self, name: str) -> Standing:
        return standing(self.records[name], self.folder, alive=True)

    def _start(self, name: str) -> None:
        job = Job(
            trial=name,
            config=self.folder.config(name).absolute(),
            run=self.folder.run(name).path.absolute(),
            log=self.folder.log(name).absolute(),
            lock=self.folder.trial_lock(name).absolute(),
            program=self.program,
            trusted=self.trusted,
        )
        done = self._standing(name).epoch
        self._note(name, "running")
        self.running[name] = (time.monotonic(), done)
        self.executor.start(job)

    def _end(self, ended: Ended) -> None:
        name = ended.trial
        del self.running[name]
        log, failure = self.folder.log(name), self.folder.failure(name)
        state, reason = state_after(ended, self.folder.run(name), log, self.at_once)
        if state == "failed":
            code = "no exit code" if ended.code is None else f"exit code {ended.code}"
            head = f"{name}: {reason}\n{code} after {ended.seconds:.1f} s; its stderr:\n\n"
            write_text(failure, head + log_end(log))
        elif state == "finished":
            failure.unlink(missing_ok=True)  # of an earlier start
            self.durations.append(ended.seconds)
        self._note(name, state, ended.seconds, reason)
        counted = counts(self.states.values())
        done = counted["finished"] + counted["failed"]
        line = ended_line(self._standing(name), ended.seconds, done, len(self.states), self._left())
        self.display.say(line)

    def _left(self) -> float | None:
        now = time.monotonic()
        shares = []
        for name, (began, before) in self.running.items():
            row = self._standing(name)
            shares.append((now - began, (row.epoch - before) / max(row.epochs - before, 1)))
        return seconds_left(self.durations, shares, len(self.queue), self.executor.shares.jobs)

    def _draw(self, title: str) -> None:
        now = time.monotonic()
        rows = [(self._standing(name), now - began) for name, (began, _) in self.running.items()]
        self.display.show(board_view(title, counts(self.states.values()), rows, self._left()))

    def outcome(self, number: int | None) -> Outcome:
        failed = {
            name: self.records[name].reason or "" for name, state in self.states.items() if state == "failed"
        }
        for name, state in self.states.items():
            if state == "waiting":  # not reached this time, but perhaps started before
                self.states[name] = state_now(self.records[name], self.folder, alive=False)[0]
        return Outcome(counts(self.states.values()), failed, number)
