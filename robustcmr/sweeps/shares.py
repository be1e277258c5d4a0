"""What each trial gets of the machine: threads, and a GPU where there are some."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from robustcmr.sweeps.errors import SweepError
from robustcmr.sweeps.options import ExecutionOptions


@dataclass(frozen=True)
class Shares:
    """How many trials run at a time and what each of them gets.

    Attributes:
        jobs: trials at a time.
        threads: of each.
        gpus: names of the GPUs as CUDA knows them; trials beyond their number share them in turn.
    """

    jobs: int
    threads: int
    gpus: tuple[str, ...]

    def environment(self, slot: int) -> dict[str, str]:
        """Variables for the trial in a slot.

        Args:
            slot: in [0, jobs).
        """
        shown = {} if not self.gpus else {"CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]}
        return {"OMP_NUM_THREADS": str(self.threads), **shown}

    def describe(self) -> str:
        """In words, such as ``2 at a time, 4 threads each, on GPU 0, 1``."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        where = f", on GPU {', '.join(self.gpus)}" if self.gpus else ""
        return f"{self.jobs} at a time, {threads} each{where}"


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """GPUs that this process may use: what CUDA_VISIBLE_DEVICES says, else all."""
    said = environment.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        import torch

        return tuple(str(number) for number in range(torch.cuda.device_count()))
    names = []
    for name in (part.strip() for part in said.split(",")):
        if name in ("", "-1"):  # CUDA sees none from here on
            break
        names.append(name)
    return tuple(names)


def local_shares(
    execution: ExecutionOptions, environment: Mapping[str, str], cores: int, gpus: tuple[str, ...]
) -> Shares:
    """Shares of one machine.

    Args:
        execution: what was asked for.
        environment: of this process.
        cores: it may use.
        gpus: it may use.

    Raises:
        SweepError: OMP_NUM_THREADS is no number.
    """
    jobs = execution.jobs if execution.jobs is not None else max(1, len(gpus))
    return Shares(jobs, _threads(execution, environment, max(1, cores // jobs)), gpus)


def _threads(execution: ExecutionOptions, environment: Mapping[str, str], share: int) -> int:
    if execution.threads is not None:
        return execution.threads
    said = environment.get("OMP_NUM_THREADS")
    if said is None or not said.strip():
        return share
    if not said.strip().isdigit() or int(said) < 1:
        raise SweepError(
            f"OMP_NUM_THREADS is '{said}', expected a whole number of at least 1; unset it, or use --threads"
        )
    return int(said)
