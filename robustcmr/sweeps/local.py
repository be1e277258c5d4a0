"""Trials as processes of this machine, each with its share of threads and GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Protocol

from robustcmr.errors import SweepError
from robustcmr.sweeps.options import ExecutionOptions
from robustcmr.sweeps.process import Ended, Job, launch


@dataclass(frozen=True)
class Shares:
    """How trials share the machine."""

    jobs: int  # parallel trials
    threads: int  # of each trial
    gpus: tuple[str, ...]  # names of the GPUs as CUDA knows them, assigned in turn

    def environment(self, slot: int) -> dict[str, str]:
        """Return the environment variables of the trial in a slot, 0..jobs-1."""
        visible = {} if not self.gpus else {"CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]}
        return {"OMP_NUM_THREADS": str(self.threads), **visible}

    def describe(self) -> str:
        """Return such as ``2 at a time, 4 threads each, on GPU 0, 1``."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        where = f", on GPU {', '.join(self.gpus)}" if self.gpus else ""
        return f"{self.jobs} at a time, {threads} each{where}"


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, or all if it is not set."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        import torch

        return tuple(str(number) for number in range(torch.cuda.device_count()))
    names = (part.strip() for part in visible.split(","))
    return tuple(takewhile(lambda name: name not in ("", "-1"), names))  # CUDA ignores the rest


def local_shares(
    execution: ExecutionOptions, environment: Mapping[str, str], cores: int, gpus: tuple[str, ...]
) -> Shares:
    """Divide the cores and GPUs that this process may use, as requested or else evenly.

    Raises:
        SweepError: OMP_NUM_THREADS is not a positive whole number.
    """
    jobs = execution.jobs if execution.jobs is not None else max(1, len(gpus))
    threads = execution.threads
    if threads is None:
        text = environment.get("OMP_NUM_THREADS", "").strip()
        if text and (not text.isdigit() or int(text) < 1):
            raise SweepError(
                f"OMP_NUM_THREADS is '{text}', expected a whole number of at least 1; unset it, or use "
                "--threads"
            )
        threads = int(text) if text else max(1, cores // jobs)
    return Shares(jobs, threads, gpus)


class Executor(Protocol):
    """Runs the processes of trials; no call blocks."""

    shares: Shares

    def start(self, job: Job) -> None:
        """Start a trial in a free slot."""

    def poll(self) -> list[Ended]:
        """Return the trials that ended since the last call."""

    def stop(self, at_once: bool) -> None:
        """Ask all trials to save and exit, or kill them."""

    def close(self) -> None:
        """Release everything, killing trials that are left."""


class LocalExecutor:
    """Runs each trial as a process of this machine."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self._free = list(range(shares.jobs))
        self._running: dict[str, tuple[subprocess.Popen[bytes], int, float]] = {}
        self._failed: list[Ended] = []

    def start(self, job: Job) -> None:
        """Start a trial in a free slot."""
        slot = self._free.pop(0)
        try:
            process = launch(replace(job, environment=self.shares.environment(slot)))
        except SweepError as error:  # fails this trial alone
            self._free.append(slot)
            self._failed.append(Ended(job.trial, None, 0.0, str(error)))
            return
        self._running[job.trial] = (process, slot, time.monotonic())

    def poll(self) -> list[Ended]:
        """Return the trials that ended since the last call."""
        ended, self._failed = self._failed, []
        for trial, (process, slot, began) in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[trial]
            self._free = sorted([*self._free, slot])
            ended.append(Ended(trial, code, time.monotonic() - began))
        return ended

    def stop(self, at_once: bool) -> None:
        """Ask all trials to save and exit, or kill them."""
        for process, _, _ in self._running.values():
            process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)

    def close(self) -> None:
        """Kill trials that are left, as after an error of the sweep; their checkpoints remain."""
        for process, _, _ in self._running.values():
            process.kill()
            process.wait()
        self._running.clear()
