from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from robustcmr.training.read_ahead import batches_of


def from_disk(items: Iterable[Any]) -> Generator[Any, None, None]:
    return batches_of(SimpleNamespace(in_memory=False), items)  # type: ignore[arg-type]


def helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_the_same_items_in_order() -> None:
    assert list(from_disk(range(50))) == list(range(50))
    assert list(from_disk([])) == []
    assert list(from_disk([None, 0, False])) == [None, 0, False]
    assert not helpers()


def test_one_item_is_made_ahead_by_a_thread() -> None:
    made: list[int] = []
    second = threading.Event()
    names = set()

    def make() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            names.add(threading.current_thread().name)
            if i == 1:
                second.set()
            yield i

    items = from_disk(make())
    assert next(items) == 0
    assert second.wait(10)  # while the first is being used
    assert names == {"read-ahead_0"}
    assert made == [0, 1]
    assert list(items) == list(range(1, 10))


def test_an_error_comes_where_its_item_would_have() -> None:
    def make() -> Iterator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError("here")

    items = from_disk(make())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ZeroDivisionError, match="here"):
        next(items)
    assert not helpers()


def test_the_thread_ends_when_the_iterator_is_closed() -> None:
    items = from_disk(iter(int, 1))  # endless
    assert next(items) == 0
    assert helpers()
    items.close()
    assert not helpers()


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_thread_reads_only_from_disk(in_memory):
    makers = []

    def make():
        for item in range(3):
            makers.append(threading.current_thread().name)
            yield item

    assert list(batches_of(SimpleNamespace(in_memory=in_memory), make())) == [0, 1, 2]
    assert set(makers) == ({threading.current_thread().name} if in_memory else {"read-ahead_0"})
