"""Trials handed to a Ray cluster: one at an address, or one started here while the sweep runs."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustcmr.files import write_text
from robustcmr.sweeps.errors import SweepError
from robustcmr.sweeps.options import ExecutionOptions
from robustcmr.sweeps.process import Ended, Job, launch, wait_or_stop
from robustcmr.sweeps.shares import Shares

RETRIES = 3
"""How often a trial whose worker or machine died is gone on with elsewhere."""


def train_in_worker(job: Job, stop: Path) -> Ended:
    """What a Ray worker does: train one trial in a process of its own, until it ends or ``stop`` appears.

    Args:
        job: the trial; its files must be seen by all machines under the same paths.
        stop: the file whose presence asks the trial to save itself.
    """
    if stop.exists():  # Ray found room for it too late
        return Ended(job.trial, -signal.SIGTERM, 0.0)
    began = time.monotonic()
    try:
        process = launch(job)
    except SweepError as error:
        return Ended(job.trial, None, 0.0, str(error))
    code = wait_or_stop(process, stop)
    return Ended(job.trial, code, time.monotonic() - began)


class RayExecutor:
    """Each trial a task of Ray, which finds room for it; a task whose worker dies is begun anew elsewhere.

    Args:
        execution: the address, and how many trials with how many threads; what is left open is taken from
            what the cluster has.
        stop: file that asks trials to save themselves and end, seen by all machines.

    Raises:
        SweepError: Ray is not installed, there is no cluster at the address, or no machine of it has the
            threads asked for.
    """

    def __init__(self, execution: ExecutionOptions, stop: Path) -> None:
        self._ray = _installed_ray()
        self._stop = stop
        stop.unlink(missing_ok=True)  # of a sweep that was killed while it stopped
        self._here = not self._ray.is_initialized()
        self._connect(execution.address)
        try:
            self.shares = self._shares(execution)
        except SweepError:
            self.close()
            raise
        gpus = self._resource("GPU")
        self._task = self._ray.remote(train_in_worker).options(
            num_cpus=self.shares.threads,
            num_gpus=min(1.0, gpus / self.shares.jobs) if gpus else 0,
            max_retries=RETRIES,
        )
        self._running: dict[Any, tuple[str, float]] = {}

    def _connect(self, address: str | None) -> None:
        if not self._here:
            return
        try:
            self._ray.init(
                address=address if address is not None else "local",
                log_to_driver=False,
                logging_level="ERROR",
                **({} if address is not None else {"include_dashboard": False}),
            )
        except Exception as error:  # whatever Ray raises is why there is no cluster
            line = str(error).strip().split("\n")[0]
            raise SweepError(
                f"no Ray cluster at {address}: {line}; check the address, or leave --address out to start one"
                if address is not None
                else f"cannot start Ray here: {line}; use --executor local"
            ) from error

    def _resource(self, name: str) -> float:
        return float(self._ray.cluster_resources().get(name, 0.0))

    def _shares(self, execution: ExecutionOptions) -> Shares:
        cpus = [int(node["Resources"].get("CPU", 0)) for node in self._ray.nodes() if node["Alive"]]
        gpus = int(self._resource("GPU"))
        if execution.jobs is None:
            threads = (
                execution.threads if execution.threads is not None else max(1, sum(cpus) // max(gpus, 1))
            )
            threads = min(threads, max(cpus)) if execution.threads is None else threads
            jobs = gpus or max(1, sum(count // threads for count in cpus))
        else:
            jobs = execution.jobs
            share = max(1, min(max(cpus), sum(cpus) // jobs))
            threads = execution.threads if execution.threads is not None else share
        if threads > max(cpus):
            raise SweepError(
                f"{threads} threads a trial are asked for, but no machine of the Ray cluster has more than "
                f"{max(cpus)}; use a smaller --threads"
            )
        return Shares(jobs, threads, ())

    def start(self, job: Job) -> None:
        """Hand a trial to Ray."""
        share = {**job.environment, "OMP_NUM_THREADS": str(self.shares.threads)}
        reference = self._task.remote(replace(job, environment=share), self._stop)
        self._running[reference] = (job.trial, time.monotonic())

    def poll(self) -> list[Ended]:
        """Trials that ended since the last time."""
        if not self._running:
            return []
        waiting = list(self._running)
        ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        ended = []
        for reference in ready:
            trial, began = self._running.pop(reference)
            try:
                ended.append(self._ray.get(reference))
            except Exception as error:  # the worker was lost more often than it was tried again
                line = str(error).strip().split("\n")[0]
                seconds = time.monotonic() - began
                ended.append(Ended(trial, None, seconds, f"Ray lost it {RETRIES + 1} times: {line}"))
        return ended

    def stop(self, at_once: bool) -> None:
        """Ask all trials to save themselves and end, or end them at once."""
        write_text(self._stop, "kill\n" if at_once else "stop\n")

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        self._stop.unlink(missing_ok=True)
        if self._here:
            self._ray.shutdown()


def _installed_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise SweepError(
            "the executor ray needs the package ray, which comes with pip install 'robustcmr[ray]'; install "
            "it, or use --executor local"
        ) from error
    return ray
