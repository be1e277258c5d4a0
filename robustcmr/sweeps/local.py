"""Trials as processes of this machine."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from typing import Protocol

from robustcmr.sweeps.errors import SweepError
from robustcmr.sweeps.process import Ended, Job, launch
from robustcmr.sweeps.shares import Shares


class Executor(Protocol):
    """What runs the processes of trials; asked again and again, and never made to wait."""

    shares: Shares

    def start(self, job: Job) -> None:
        """Begin a trial; there is a free slot."""

    def poll(self) -> list[Ended]:
        """Trials that ended since the last time."""

    def stop(self, at_once: bool) -> None:
        """Ask all trials to save themselves and end, or end them at once."""

    def close(self) -> None:
        """Give everything back; no trial is left."""


class LocalExecutor:
    """Each trial in a process with its share of threads and GPUs.

    Args:
        shares: how many trials at a time, and what each of them gets.
    """

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self._free = list(range(shares.jobs))
        self._running: dict[str, tuple[subprocess.Popen[bytes], int, float]] = {}
        self._failed: list[Ended] = []

    def start(self, job: Job) -> None:
        """Begin a trial in a free slot."""
        slot = self._free.pop(0)
        share = {**job.environment, **self.shares.environment(slot)}
        try:
            process = launch(replace(job, environment=share))
        except SweepError as error:  # of this trial alone
            self._free.append(slot)
            self._failed.append(Ended(job.trial, None, 0.0, str(error)))
            return
        self._running[job.trial] = (process, slot, time.monotonic())

    def poll(self) -> list[Ended]:
        """Trials that ended since the last time."""
        ended, self._failed = self._failed, []
        for trial, (process, slot, began) in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[trial]
            self._free.append(slot)
            self._free.sort()
            ended.append(Ended(trial, code, time.monotonic() - began))
        return ended

    def stop(self, at_once: bool) -> None:
        """Ask all trials to save themselves and end, or end them at once."""
        for process, _, _ in self._running.values():
            if at_once:
                process.kill()
            else:
                process.terminate()

    def close(self) -> None:
        """End what is left, as after an error of the sweep itself; it goes on from its checkpoints."""
        for process, _, _ in self._running.values():
            process.kill()
            process.wait()
        self._running.clear()
