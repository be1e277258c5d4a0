"""Where the pieces of an audit are worked on: in this process, or by the workers of a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from robustcmr.errors import UserError

Item = TypeVar("Item")

RETRIES = 3
"""How often a piece is begun again after its worker or machine has died."""

AHEAD = 2
"""Pieces that wait for a core, for each one that is worked on."""


Work = Callable[[Item, Callable[[int], None]], None]
"""Works on an item, and calls its second argument with the number of pairs after each step.

It writes its result to files, atomically, so that it may run again; Ray sends it to other processes.
"""


class Engine(Protocol):
    """Works on items, in any order."""

    def run(self, work: Work[Item], items: Sequence[Item], progress: Callable[[int], None]) -> None:
        """Work on all items; ``progress`` is called with the pairs of each step."""


class LocalEngine:
    """Works on one item after the other in this process."""

    def run(self, work: Work[Item], items: Sequence[Item], progress: Callable[[int], None]) -> None:
        """Work on all items."""
        for item in items:
            work(item, progress)


class RayEngine:
    """Works on items as tasks of Ray, which begins those again whose worker died.

    All machines must see the sources, the vectors and the output folder under the same paths.

    Args:
        ray: the package, connected to a cluster.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def run(self, work: Work[Item], items: Sequence[Item], progress: Callable[[int], None]) -> None:
        """Work on all items; an error of one ends the others.

        Raises:
            UserError: the worker of an item died too often.
        """
        ray = self._ray
        shared = ray.put(work)
        task = ray.remote(_pairs_of).options(num_cpus=1, max_retries=RETRIES)
        at_once = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting: list[Any] = []
        todo = list(reversed(items))
        try:
            while todo or waiting:
                while todo and len(waiting) < at_once:
                    waiting.append(task.remote(shared, todo.pop()))
                ready, waiting = ray.wait(waiting, num_returns=1)
                for reference in ready:
                    progress(self._result(reference))
        finally:
            for reference in waiting:
                ray.cancel(reference, force=False)

    def _result(self, reference: Any) -> int:
        try:
            return int(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)
            raise cause if isinstance(cause, UserError) else error from None
        except self._ray.exceptions.RayError as error:
            line = str(error).strip().split("\n")[0]
            raise UserError(
                f"Ray lost a piece of the audit {RETRIES + 1} times: {line}; the same command resumes"
            ) from error


def _pairs_of(work: Work[Any], item: Any) -> int:
    counted = 0

    def count(pairs: int) -> None:
        nonlocal counted
        counted += pairs

    work(item, count)
    return counted


@contextmanager
def engine_of(name: str, address: str | None) -> Iterator[Engine]:
    """Open an engine: ``local``, or ``ray`` at an address, None to start a cluster here.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    if name == "local":
        yield LocalEngine()
        return
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "--engine ray needs the package ray; install it by pip install 'robustcmr[ray]', or use "
            "--engine local"
        ) from error
    here = not ray.is_initialized()
    if here:
        place: dict[str, Any] = {"address": "local", "include_dashboard": False}
        try:
            ray.init(
                **(place if address is None else {"address": address}),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # Ray raises many types
            line = str(error).strip().split("\n")[0]
            raise UserError(
                f"cannot start Ray here: {line}; use --engine local"
                if address is None
                else f"no Ray cluster at {address}: {line}; check the address, or leave it out to start one"
            ) from error
    try:
        yield RayEngine(ray)
    finally:
        if here:
            ray.shutdown()
