"""The processes of one run, as ``torchrun`` or ``accelerate launch`` start them; usually there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import distributed

if distributed.is_available():
    # Its functions keep the group of all processes as a default argument. Imported once the group exists, as
    # by torch.compile, they would keep the group's threads beyond leave(), and may abort the exit.
    import torch.distributed.nn

T = TypeVar("T")


def count() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if _together() else 1


def rank() -> int:
    """Return the number of this process, from 0; known before the processes have met."""
    return distributed.get_rank() if _together() else int(os.environ.get("RANK", "0"))


def is_writer() -> bool:
    """Return whether this is the one process that writes files and prints."""
    return rank() == 0


def wait_for_all() -> None:
    """Wait until every process gets here."""
    if _together():
        distributed.barrier()


@contextmanager
def writer_first() -> Iterator[None]:
    """Run the block in the writer first, then in the other processes."""
    if not is_writer():
        wait_for_all()
    yield
    if is_writer():
        wait_for_all()


def as_the_writer_says(value: T) -> T:
    """Return the writer's value, which must be picklable, in every process."""
    if not _together():
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0, device=device())
    return values[0]


def leave() -> None:
    """Leave the group once all processes have got here, and end its threads; else one may abort the exit."""
    if _together():
        distributed.barrier()
        distributed.destroy_process_group()


def largest(number: int) -> int:
    """Return the largest number of all processes; every process must call it."""
    if not _together():
        return number
    tensor = torch.tensor(number, device=device())
    distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
    return int(tensor)


def device() -> torch.device:
    """Return the device from which tensors are sent between the processes."""
    if distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
