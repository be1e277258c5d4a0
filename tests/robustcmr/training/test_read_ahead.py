from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from robustcmr.training.read_ahead import batches_of, read_ahead


def helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_the_same_items_in_order() -> None:
    assert list(read_ahead(range(50))) == list(range(50))
    assert list(read_ahead([])) == []
    assert not helpers()


def test_items_are_made_by_a_thread_and_at_most_so_far_ahead() -> None:
    made: list[int] = []
    third = threading.Event()
    names = set()

    def make() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            names.add(threading.current_thread().name)
            if i == 2:
                third.set()
            yield i

    items = read_ahead(make(), depth=1)
    assert next(items) == 0
    assert third.wait(10)  # one waits and one is being handed over while nobody asks
    assert names == {"read-ahead"}
    assert made == [0, 1, 2]
    assert list(items) == list(range(1, 10))


def test_an_error_comes_where_its_item_would_have() -> None:
    def make() -> Iterator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError("here")

    items = read_ahead(make())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ZeroDivisionError, match="here"):
        next(items)
    assert not helpers()


def test_the_thread_ends_when_nobody_wants_more() -> None:
    items = read_ahead(iter(int, 1))  # without end
    assert next(items) == 0
    assert helpers()
    items.close()
    assert not helpers()


@pytest.mark.parametrize("is_held", [True, False])
def test_a_thread_reads_only_what_is_on_the_disk(is_held):
    makers = []

    def make():
        for item in range(3):
            makers.append(threading.current_thread().name)
            yield item

    assert list(batches_of(SimpleNamespace(is_held=is_held), make())) == [0, 1, 2]
    assert set(makers) == ({threading.current_thread().name} if is_held else {"read-ahead"})
