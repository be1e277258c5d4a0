"""One trial as a process: started or resumed, and its outcome."""

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

from robustcmr.errors import SweepError
from robustcmr.runs.folder import RunFolder
from robustcmr.sweeps import locks

PROGRAM = (sys.executable, "-m", "robustcmr")
ORPHAN_SECONDS = 120.0
"""Seconds that a trial whose sweep was killed may take to save and exit."""

STOPPED = frozenset(
    {-signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP} | {128 + signal.SIGINT, 128 + signal.SIGTERM}
)
"""Exit codes of a trial that was asked to stop."""

LONGEST_FAILURE = 64 * 1024


@dataclass(frozen=True)
class Job:
    """A trial to train, on this or another machine with the same files.

    Attributes:
        trial: its name.
        config: configuration file to start it with.
        run: its run folder.
        log: file for its stderr.
        lock: held by the process while it lives.
        environment: variables to set for it.
        program: the command that ``train`` is passed to.
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
    """A finished trial process.

    Attributes:
        trial: its name.
        code: exit code, negative for a signal; None if it could not be started or its machine was lost.
        seconds: how long it ran.
        error: why there is no exit code.
    """

    trial: str
    code: int | None
    seconds: float
    error: str | None = None


def launch(job: Job) -> subprocess.Popen[bytes]:
    """Start a trial, or resume it, in a process that Ctrl-C in the terminal does not reach.

    Raises:
        SweepError: a process of an earlier sweep still trains it and does not exit, or its run folder holds
            other files.
    """
    descriptor = _take_lock(job)
    try:
        arguments = _arguments(job)
        locks.write_owner(descriptor, None)
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
        locks.write_owner(descriptor, process.pid)
        return process
    finally:
        os.close(descriptor)


def _take_lock(job: Job) -> int:
    """Take the lock of a trial, asking a process left by an earlier start to save and exit."""
    descriptor = locks.take(job.lock, patience=0.0)
    if descriptor is None:
        ask_to_stop(job.lock)
        descriptor = locks.take(job.lock, patience=ORPHAN_SECONDS)
    if descriptor is None:
        raise SweepError(
            f"{job.run} is still trained by {locks.describe_owner(job.lock)} of an earlier start; stop that "
            "first"
        )
    return descriptor


def ask_to_stop(lock: Path) -> None:
    """Ask the process that trains a trial to save and exit, if it runs on this machine."""
    owner = locks.read_owner(lock)
    if owner is None or owner["host"] != socket.gethostname():
        return
    try:
        os.kill(int(owner["pid"]), signal.SIGTERM)
    except (ProcessLookupError, PermissionError):  # it has just exited, or is not ours: the lock will show
        return


def _arguments(job: Job) -> list[str]:
    run = RunFolder(job.run)
    if run.holds_run:
        if run.results.exists() and not _is_json(run.results):  # to be measured again
            run.results.replace(run.results.with_name("results.json.damaged"))
        return ["--resume", str(job.run)]
    if job.run.is_dir():  # a run killed before it wrote its configuration leaves only these files
        others = [path for path in job.run.iterdir() if path != run.environment and path.suffix != ".tmp"]
        if others:
            raise SweepError(
                f"{job.run} holds no run but {others[0].name}, which no trial leaves; move it elsewhere"
            )
        shutil.rmtree(job.run)
    return ["--config", str(job.config), "--output", str(job.run)]


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def is_finished(run: RunFolder) -> bool:
    """Whether a trial has readable results."""
    return run.holds_run and run.results.is_file() and _is_json(run.results)


def state_after(ended: Ended, run: RunFolder, log: Path, at_once: bool = False) -> tuple[str, str | None]:
    """Return the state of a trial whose process ended, and if it failed the reason in one line.

    Args:
        ended: how it ended.
        run: its run folder.
        log: its stderr.
        at_once: whether the sweep killed its trials.
    """
    if is_finished(run):
        return "finished", None
    if ended.code is None:
        return "failed", ended.error
    if ended.code in STOPPED or (at_once and ended.code == -signal.SIGKILL):
        return "interrupted", None
    if ended.code == 0:
        return "failed", "it exited without results"
    if ended.code < 0:
        memory = ", perhaps for lack of memory" if ended.code == -signal.SIGKILL else ""
        return "failed", f"it was killed by {signal.Signals(-ended.code).name}{memory}"
    lines = [line.strip() for line in log_end(log).splitlines() if line.strip()]
    return "failed", lines[-1].removeprefix("robustcmr: ") if lines else "it exited without a message"


def log_end(log: Path) -> str:
    """Return the end of a trial's stderr."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LONGEST_FAILURE))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def wait_or_stop(process: subprocess.Popen[bytes], stop: Path, every: float = 0.2) -> int:
    """Wait for a trial, and return its exit code; once ``stop`` exists, ask it to save and exit.

    Args:
        process: the trial.
        stop: file to look for; if it contains ``kill``, the trial is killed.
        every: seconds between looks.
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
