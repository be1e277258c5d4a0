"""One trial as a process of its own: how it is begun or gone on with, and how it ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from robustcmr.runs.folder import RunFolder
from robustcmr.sweeps import locks
from robustcmr.sweeps.errors import SweepError

PROGRAM = (sys.executable, "-m", "robustcmr")
ORPHAN_SECONDS = 120.0
"""How long a trial whose sweep was killed may take to save itself and end."""

STOPPED = frozenset(
    {-signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP} | {128 + signal.SIGINT, 128 + signal.SIGTERM}
)
"""Exit codes of a trial that somebody asked to stop."""

LONGEST_FAILURE = 64 * 1024


@dataclass(frozen=True)
class Job:
    """All that is needed to train one trial, on this or another machine that sees the same files.

    Attributes:
        trial: its name.
        config: the configuration to start it by.
        run: its run folder.
        log: where its stderr goes.
        lock: held by the process while it lives.
        environment: variables set for it.
        program: the command that ``train`` is given to.
    """

    trial: str
    config: Path
    run: Path
    log: Path
    lock: Path
    environment: Mapping[str, str]
    program: tuple[str, ...] = PROGRAM


@dataclass(frozen=True)
class Ended:
    """A trial's process that is no more.

    Attributes:
        trial: its name.
        code: exit code, negative for a signal; None where it could not be started or its machine was lost.
        seconds: how long it lived.
        error: why there is no exit code.
    """

    trial: str
    code: int | None
    seconds: float
    error: str | None = None


def launch(job: Job) -> subprocess.Popen[bytes]:
    """Begin a trial, or go on with it, in a process that Ctrl-C in the terminal does not reach.

    Raises:
        SweepError: a process of an earlier sweep still trains it and does not end, or its run folder holds
            something else.
    """
    descriptor = _lock_of(job)
    try:
        arguments = _arguments(job)
        locks.inscribe(descriptor, None)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("wb") as log:
            process = subprocess.Popen(
                [*job.program, "train", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, **job.environment},
                start_new_session=True,
                pass_fds=(descriptor,),  # the trial holds its lock even if the sweep is killed
            )
        locks.inscribe(descriptor, process.pid)
        return process
    finally:
        os.close(descriptor)


def _lock_of(job: Job) -> int:
    """The lock of a trial, after a process that an earlier start left behind has saved itself and ended."""
    descriptor = locks.take(job.lock, patience=0.0)
    if descriptor is None:
        ask_to_stop(job.lock)
        descriptor = locks.take(job.lock, patience=ORPHAN_SECONDS)
    if descriptor is None:
        raise SweepError(
            f"{job.run} is still trained by {locks.holder(job.lock)} of an earlier start; stop that first"
        )
    return descriptor


def ask_to_stop(lock: Path) -> None:
    """Ask the process that trains a trial to save itself and end, if it lives on this machine."""
    told = locks.inscription(lock)
    if told is None or told["host"] != socket.gethostname():
        return
    try:
        os.kill(int(told["pid"]), signal.SIGTERM)
    except (ProcessLookupError, PermissionError):  # ended just now, or not ours: the lock will tell
        return


def _arguments(job: Job) -> list[str]:
    run = RunFolder(job.run)
    if run.holds_run:
        if run.results.exists() and not _is_json(run.results):
            run.results.replace(
                run.results.with_name("results.json.damaged")
            )  # measured again from the weights
        return ["--resume", str(job.run)]
    if job.run.is_dir():
        _clear_half_begun(run)
    return ["--config", str(job.config), "--output", str(job.run)]


def _clear_half_begun(run: RunFolder) -> None:
    """Remove what a run leaves that was killed before it had written how it is configured."""
    others = [path for path in run.path.iterdir() if path != run.environment and path.suffix != ".tmp"]
    if others:
        raise SweepError(
            f"{run.path} holds no run but {others[0].name}, which a trial does not leave; move it elsewhere"
        )
    shutil.rmtree(run.path)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def is_finished(run: RunFolder) -> bool:
    """Whether a trial has its outcome, readable."""
    return run.holds_run and run.results.is_file() and _is_json(run.results)


def state_after(ended: Ended, run: RunFolder, log: Path, at_once: bool = False) -> tuple[str, str | None]:
    """State of a trial whose process ended, and the reason in a line if it failed.

    Args:
        ended: how it ended.
        run: its run folder.
        log: its stderr.
        at_once: whether the sweep ended its trials without waiting for them to save themselves.
    """
    if is_finished(run):
        return "finished", None
    if ended.code is None:
        return "failed", ended.error
    if ended.code in STOPPED or (at_once and ended.code == -signal.SIGKILL):
        return "interrupted", None
    if ended.code == 0:
        return "failed", "it ended without an outcome"
    said = [line.strip() for line in failure_text(log).splitlines() if line.strip()]
    if ended.code < 0:
        name = signal.Signals(-ended.code).name
        memory = ", perhaps for want of memory" if ended.code == -signal.SIGKILL else ""
        return "failed", f"it was killed by {name}{memory}"
    last = said[-1].removeprefix("robustcmr: ") if said else "it said nothing"
    return "failed", last


def failure_text(log: Path) -> str:
    """The end of what a trial said."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LONGEST_FAILURE))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def wait_or_stop(process: subprocess.Popen[bytes], stop: Path, every: float = 0.2) -> int:
    """Wait for a trial; once the file ``stop`` is there it is asked to save itself and end.

    Args:
        process: the trial.
        stop: the file to look for; ``kill`` in it ends the trial at once.
        every: seconds between two looks.

    Returns:
        The exit code.
    """
    asked = False
    while (code := process.poll()) is None:
        if stop.exists():
            if "kill" in stop.read_text(encoding="utf-8"):
                process.kill()
            elif not asked:
                process.terminate()
            asked = True
        time.sleep(every)
    return code
