"""The processes of one run, as ``torchrun`` or ``accelerate launch`` start them; mostly it is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _together() else 1


def rank() -> int:
    """Which of them this is, from 0; known from the start, before they have met."""
    return distributed.get_rank() if _together() else int(os.environ.get("RANK", "0"))


def is_writer() -> bool:
    """Whether this is the one process that writes files and talks."""
    return rank() == 0


def wait_for_all() -> None:
    """Wait until every process has come here."""
    if _together():
        distributed.barrier()


@contextmanager
def writer_first() -> Iterator[None]:
    """Have the writing process do something before the others do it."""
    if not is_writer():
        wait_for_all()
    yield
    if is_writer():
        wait_for_all()


def as_the_writer_says(value: T) -> T:
    """The value that the writing process holds, in every process; anything that can be pickled."""
    if not _together():
        return value
    held = [value]
    distributed.broadcast_object_list(held, src=0, device=device())
    return held[0]


def largest(number: int) -> int:
    """The largest of what the processes hold; all must ask."""
    if not _together():
        return number
    held = torch.tensor(number, device=device())
    distributed.all_reduce(held, distributed.ReduceOp.MAX)
    return int(held)


def device() -> torch.device:
    """Where tensors must be to travel between the processes."""
    if distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
