"""Read the next batch from disk in a thread while the current one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from robustcmr.data.base import TrainingData

T = TypeVar("T")

_END = object()


def batches_of(data: TrainingData, items: Iterable[T]) -> Generator[T, None, None]:
    """Return items in order; if the features are on disk, a thread makes the next one meanwhile.

    Features in memory are gathered faster than a thread would pay for. An error is raised where its item
    would have come. The thread ends when the iterator is closed.

    Args:
        data: what the items are made from.
        items: makes an item, such as a batch, at each step.
    """
    if data.in_memory:
        yield from items
        return
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        upcoming = thread.submit(next, iterator, _END)
        while (item := upcoming.result()) is not _END:
            upcoming = thread.submit(next, iterator, _END)
            yield item  # type: ignore[misc]
