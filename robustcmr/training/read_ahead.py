"""Have a thread make what comes next while the present is being used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from robustcmr.data.base import TrainingData

T = TypeVar("T")

_PATIENCE = 0.1  # seconds between two looks whether anybody still waits


@dataclass(frozen=True)
class _Made(Generic[T]):
    item: T


@dataclass(frozen=True)
class _Ended:
    error: BaseException | None


def batches_of(data: TrainingData, items: Iterable[T]) -> Generator[T, None, None]:
    """What is made of training data, read ahead where it must be fetched from the disk.

    What is held already is put together sooner than a second thread would take from the computing ones.

    Args:
        data: that the items are read from.
        items: what to make.
    """
    if data.is_held:
        yield from items
    else:
        yield from read_ahead(items)


def read_ahead(items: Iterable[T], depth: int = 1) -> Generator[T, None, None]:
    """The same items in the same order, made by a thread up to ``depth`` and one more ahead.

    Reading files and copying memory leave other threads free to compute. An error is raised where its item
    would have come. The thread ends when the iterator is closed.

    Args:
        items: what to make; only the thread iterates.
        depth: items that wait, at least 1.
    """
    waiting: queue.Queue[_Made[T] | _Ended] = queue.Queue(depth)
    left = threading.Event()

    def hand_over(made: _Made[T] | _Ended) -> bool:
        while not left.is_set():
            try:
                waiting.put(made, timeout=_PATIENCE)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not hand_over(_Made(item)):
                    return
        except BaseException as error:
            hand_over(_Ended(error))
        else:
            hand_over(_Ended(None))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            made = waiting.get()
            if isinstance(made, _Ended):
                if made.error is not None:
                    raise made.error
                return
            yield made.item
    finally:
        left.set()
        thread.join()
