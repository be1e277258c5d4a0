"""Trials on a Ray cluster: one at an address, or one started here for the sweep."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustcmr.errors import SweepError
from robustcmr.files import write_text
from robustcmr.sweeps.local import Shares
from robustcmr.sweeps.options import ExecutionOptions
from robustcmr.sweeps.process import Ended, Job, launch, wait_or_stop

RETRIES = 3
"""How often a trial is resumed elsewhere after its worker or machine has died."""


def train_in_worker(job: Job, stop: Path) -> Ended:
    """Train one trial in a process of its own, until it ends or the file ``stop`` appears.

    All machines must see the trial's files and ``stop`` under the same paths.
    """
    if stop.exists():  # started too late
        return Ended(job.trial, -signal.SIGTERM, 0.0)
    began = time.monotonic()
    try:
        process = launch(job)
    except SweepError as error:
        return Ended(job.trial, None, 0.0, str(error))
    code = wait_or_stop(process, stop)
    return Ended(job.trial, code, time.monotonic() - began)


class RayExecutor:
    """Runs each trial as a task of Ray, which chooses the machine and restarts tasks whose worker died.

    Args:
        execution: address, jobs and threads; defaults follow from the resources of the cluster.
        stop: file that asks trials to save and exit; all machines must see it.

    Raises:
        SweepError: Ray is not installed, there is no cluster at the address, or no machine of it has the
            requested threads.
    """

    def __init__(self, execution: ExecutionOptions, stop: Path) -> None:
        try:
            import ray
        except ImportError as error:
            raise SweepError(
                "--executor ray needs the package ray; install it by pip install 'robustcmr[ray]', or use "
                "--executor local"
            ) from error
        self._ray: Any = ray
        self._stop = stop
        stop.unlink(missing_ok=True)  # left by a sweep that was killed while stopping
        self._here = not self._ray.is_initialized()
        if self._here:
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
        place = {"address": "local", "include_dashboard": False} if address is None else {"address": address}
        try:
            self._ray.init(**place, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray raises many types
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
            threads = execution.threads or min(max(1, sum(cpus) // max(gpus, 1)), max(cpus))
            jobs = gpus or max(1, sum(count // threads for count in cpus))
        else:
            jobs = execution.jobs
            threads = execution.threads or max(1, min(max(cpus), sum(cpus) // jobs))
        if threads > max(cpus):
            raise SweepError(
                f"--threads is {threads}, but no machine of the Ray cluster has more than {max(cpus)} cores; "
                "use a smaller --threads"
            )
        return Shares(jobs, threads, ())

    def start(self, job: Job) -> None:
        """Submit a trial to Ray."""
        job = replace(job, environment=self.shares.environment(0))
        reference = self._task.remote(job, self._stop)
        self._running[reference] = (job.trial, time.monotonic())

    def poll(self) -> list[Ended]:
        """Return the trials that ended since the last call."""
        if not self._running:
            return []
        waiting = list(self._running)
        ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        ended = []
        for reference in ready:
            trial, began = self._running.pop(reference)
            try:
                ended.append(self._ray.get(reference))
            except Exception as error:  # its worker was lost more than RETRIES times
                line = str(error).strip().split("\n")[0]
                seconds = time.monotonic() - began
                ended.append(Ended(trial, None, seconds, f"Ray lost it {RETRIES + 1} times: {line}"))
        return ended

    def stop(self, at_once: bool) -> None:
        """Ask all trials to save and exit, or kill them."""
        write_text(self._stop, "kill\n" if at_once else "stop\n")

    def close(self) -> None:
        """Leave the cluster, and shut it down if it was started here."""
        self._stop.unlink(missing_ok=True)
        if self._here:
            self._ray.shutdown()
