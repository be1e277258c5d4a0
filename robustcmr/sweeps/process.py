"""One trial as a process: started or resumed, and its outcome."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from robustcmr import locks
from robustcmr.errors import RunFolderError, SweepError
from robustcmr.runs.folder import RunFolder

if os.name == "nt":  # pragma: no cover  # not a tested system
    raise SweepError(
        "sweeps need the signals of Linux or macOS; train the trials one by one with 'robustcmr train'"
    )

PROGRAM = (sys.executable, "-P", "-m", "robustcmr")
"""``-P``: modules in the current folder are not searched first."""

LOOK_SECONDS = 0.2
ORPHAN_SECONDS = 120.0
"""Seconds that a trial whose sweep was killed may take to save and exit."""

STOPPED = frozenset(
    {-signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP} | {128 + signal.SIGINT, 128 + signal.SIGTERM}
)
"""Exit codes of a trial that was asked to stop."""

LONGEST_FAILURE = 64 * 1024


@dataclass(frozen=True)
class Job:
    """A trial to train, on this or another machine with the same files."""

    trial: str  # its name
    config: Path  # configuration file to start it with
    run: Path  # its run folder
    log: Path  # file for its stderr
    lock: Path  # held by the process while it lives
    environment: Mapping[str, str] = field(default_factory=dict)  # variables to set for it
    program: tuple[str, ...] = PROGRAM  # the command that ``train`` is passed to
    trusted: bool = False  # whether the user consented to the code that its configuration names


@dataclass(frozen=True)
class Ended:
    """A finished trial process."""

    trial: str  # its name
    code: int | None  # negative for a signal; None if it did not start or its machine was lost
    seconds: float  # how long it ran
    error: str | None = None  # why there is no exit code


def launch(job: Job) -> subprocess.Popen[bytes]:
    """Start a trial, or resume it, in a process that Ctrl-C in the terminal does not reach.

    Raises:
        SweepError: an earlier process still trains it and does not exit.
    """
    descriptor = take_trial(job.lock)
    try:
        arguments = _arguments(job)
        locks.write_owner(descriptor, None)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        job.log.unlink(missing_ok=True)  # a symbolic link there is replaced, and not followed
        with job.log.open("wb") as log:
            process = subprocess.Popen(
                [*job.program, "train", *arguments, *(["--trust"] if job.trusted else [])],
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


def take_trial(lock: Path) -> int:
    """Take a trial's lock from an earlier process by asking it to exit; raise SweepError if it does not."""
    descriptor = locks.take(lock)
    if descriptor is None:
        ask_to_stop(lock)
        descriptor = locks.take(lock, patience=ORPHAN_SECONDS)
    if descriptor is None:
        raise SweepError(
            f"trial {lock.stem} is still trained by {locks.describe_owner(lock)} and does not exit; stop "
            "that process first"
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
        if run.results.exists() and not is_finished(run):  # to be measured again
            run.results.replace(run.results.with_name("results.json.damaged"))
        return ["--resume", str(job.run)]
    return ["--config", str(job.config), "--output", str(job.run)]


def is_finished(run: RunFolder) -> bool:
    """Whether a trial has readable results."""
    if not (run.holds_run and run.results.is_file()):
        return False
    try:
        return run.read_results() is not None
    except RunFolderError:
        return False


def state_after(ended: Ended, run: RunFolder, log: Path, at_once: bool = False) -> tuple[str, str | None]:
    """Return the state of a trial whose process ended, and if it failed the reason in one line.

    ``log`` has its stderr; ``at_once`` says that the sweep killed its trials.
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


def wait_or_stop(process: subprocess.Popen[bytes], stop: Path) -> int:
    """Wait for a trial, and return its exit code.

    Once the file ``stop`` exists, ask the trial to save and exit, or kill it if the file contains ``kill``.
    """
    asked = False
    while (code := process.poll()) is None:
        if stop.exists():
            if "kill" in stop.read_text(encoding="utf-8"):
                process.kill()
            elif not asked:
                process.terminate()
            asked = True
        time.sleep(LOOK_SECONDS)
    return code
