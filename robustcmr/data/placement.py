"""Where the training features stay: on disk, in main memory, or on the device that trains."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from robustcmr.data.base import FeatureStore
from robustcmr.data.free_memory import free_memory, free_on_gpu
from robustcmr.data.held_features import HalfFeatures, HeldFeatures, held_bytes
from robustcmr.errors import ConfigError

logger = logging.getLogger("robustcmr")

Place = Literal["disk", "memory", "device"]
Wish = Literal["auto", "disk", "memory", "device"]

SMALL_BYTES = 2 * 2**30
"""Larger features stay on disk by themselves: the operating system caches what fits, and can let go of it."""


@dataclass(frozen=True)
class MemoryBudget:
    """What there is room for.

    Attributes:
        device: that trains.
        memory: free bytes of main memory, for this process.
        on_device: free bytes of the device, for this process.
        workers: processes that read batches ahead.
    """

    device: torch.device
    memory: int
    on_device: int
    workers: int

    @classmethod
    def here(cls, device: torch.device, workers: int) -> MemoryBudget:
        """What there is now, shared fairly with the other processes of this machine that train.

        Args:
            device: that trains.
            workers: processes that read batches ahead.
        """
        memory = free_memory() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        # on CUDA each process has a GPU of its own; elsewhere the device has the main memory
        return cls(device, memory, free_on_gpu(device) if device.type == "cuda" else memory, workers)


def choose_place(wish: Wish, size: int, room: MemoryBudget) -> tuple[Place, str]:
    """Where features shall stay.

    ``auto`` takes an accelerator where they fill at most half of what is free there, leaving the rest to the
    training; main memory where they are small; and the disk otherwise.

    Args:
        wish: what was asked for.
        size: bytes they take when they are held.
        room: what there is room for.

    Returns:
        The place, and why in a few words.

    Raises:
        ConfigError: they do not fit where they were wished, or loader processes cannot reach them there.
    """
    free = {"memory": room.memory, "device": room.on_device}
    elsewhere = room.device.type != "cpu"
    if wish == "device" and elsewhere and room.workers:
        raise ConfigError(
            f"training.store is device, but training.workers is {room.workers} and other processes cannot "
            "gather there; set training.workers to 0 or training.store to memory or disk"
        )
    if wish in ("memory", "device"):
        if size > free[wish]:
            where = "main memory" if wish == "memory" else str(room.device)
            raise ConfigError(
                f"training.store is {wish}, but the training features take {_size(size)} and "
                f"{_size(free[wish])} of {where} are free; set training.store to disk, or "
                "training.half_features where the file is not in half precision yet"
            )
        return wish, "as asked"
    if wish == "disk":
        return "disk", "as asked"
    if elsewhere and not room.workers and 2 * size <= room.on_device:
        return "device", f"at most half of the {_size(room.on_device)} that are free there"
    if size <= SMALL_BYTES and 4 * size <= room.memory:
        return "memory", f"small beside the {_size(room.memory)} that are free"
    if size > SMALL_BYTES:
        return "disk", f"more than {_size(SMALL_BYTES)}, and what fits is cached by the operating system"
    return "disk", f"only {_size(room.memory)} of memory are free"


def place_features(
    stores: Mapping[str, FeatureStore],
    wish: Wish,
    half: bool,
    room: MemoryBudget,
) -> dict[str, FeatureStore]:
    """Put the features of a split where they were wished or fit best, and log it.

    Args:
        stores: features by what they are of, such as ``image``; at least one.
        wish: where to.
        half: whether to round them to half precision, wherever they stay.
        room: what there is room for.

    Raises:
        ConfigError: the wish is impossible.
        DataError: a number is not finite, or too large for half precision.
    """
    if half:
        stores = {name: HalfFeatures(store) for name, store in stores.items()}
    size = sum(held_bytes(store) for store in stores.values())
    place, reason = choose_place(wish, size, room)
    rounded = " (rounded to half precision)" if half else ""
    named = {"disk": "stay on disk", "memory": "are held in memory", "device": f"are held on {room.device}"}
    logger.info("training features of %s%s %s: %s", _size(size), rounded, named[place], reason)
    if place == "disk":
        return dict(stores)
    device = room.device if place == "device" else torch.device("cpu")
    return {name: HeldFeatures.hold(store, device, name) for name, store in stores.items()}


def _size(size: int) -> str:
    """Bytes in words."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
