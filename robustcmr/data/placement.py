"""Where the training features stay: on disk, in main memory, or on the device that trains."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch

from robustcmr.data.base import FeatureStore
from robustcmr.data.in_memory_features import HalfFeatures, InMemoryFeatures, bytes_per_number
from robustcmr.errors import ConfigError

logger = logging.getLogger("robustcmr")

Place = Literal["disk", "memory", "device"]
RequestedPlace = Literal["auto", "disk", "memory", "device"]

SMALL_BYTES = 2 * 2**30
"""``auto`` leaves larger features on disk: the operating system caches what fits and can release it."""

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where Linux states the memory limit of a container."""


@dataclass(frozen=True)
class MemoryBudget:
    """Memory that this process may take for features.

    Attributes:
        device: that trains.
        memory: free bytes of main memory.
        on_device: free bytes of the device.
        workers: processes that read batches ahead.
    """

    device: torch.device
    memory: int
    on_device: int
    workers: int

    @classmethod
    def here(cls, device: torch.device, workers: int) -> MemoryBudget:
        """Measure the free memory now, divided among the training processes of this machine."""
        memory = free_memory() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        # on CUDA each process has a GPU of its own; elsewhere the device uses the main memory
        on_device = int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else memory
        return cls(device, memory, on_device, workers)


def free_memory(group: Path = CONTROL_GROUP) -> int:
    """Return the bytes of main memory that are free or hold cached files, within a container's limit.

    ``group`` is the folder of its control group (version 2).
    """
    free = int(psutil.virtual_memory().available)
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        cached = int(dict(line.split() for line in lines)["file"])
        return free if limit == "max" else max(0, min(free, int(limit) - used + cached))
    except (OSError, KeyError, ValueError):
        return free


def choose_place(requested: RequestedPlace, size: int, budget: MemoryBudget) -> tuple[Place, str]:
    """Decide where features of ``size`` bytes stay; return the place, and the reason in a few words.

    ``auto`` takes an accelerator if they fill at most half of its free memory, which leaves the rest to the
    training; else main memory if they are small; else the disk.

    Raises:
        ConfigError: they do not fit in the requested place, or worker processes cannot reach them there.
    """
    free = {"memory": budget.memory, "device": budget.on_device}
    accelerator = budget.device.type != "cpu"
    if requested == "device" and accelerator and budget.workers:
        raise ConfigError(
            f"training.store is device, but training.workers is {budget.workers} and worker processes cannot "
            "read from a device; add --set training.workers=0, or --set training.store=memory"
        )
    if requested in ("memory", "device") and size > free[requested]:
        where = "main memory" if requested == "memory" else str(budget.device)
        raise ConfigError(
            f"training.store is {requested}, but the training features take {_size(size)} and "
            f"{_size(free[requested])} of {where} are free; add --set training.store=disk, or "
            "--set training.half_features=true if the file is not in half precision yet"
        )
    if requested != "auto":
        return requested, "as requested"
    if accelerator and not budget.workers and 2 * size <= budget.on_device:
        return "device", f"at most half of the {_size(budget.on_device)} that are free there"
    if size > SMALL_BYTES:
        return "disk", f"more than {_size(SMALL_BYTES)}; the operating system caches what fits"
    if 4 * size <= budget.memory:
        return "memory", f"at most a quarter of the {_size(budget.memory)} that are free"
    return "disk", f"only {_size(budget.memory)} of memory are free"


def place_features(
    stores: Mapping[str, FeatureStore], requested: RequestedPlace, half: bool, budget: MemoryBudget
) -> dict[str, FeatureStore]:
    """Move features to the place of ``training.store``, or wherever they fit, and log it.

    Args:
        stores: features by the kind of their entries, such as ``image``; at least one.
        requested: the option ``training.store``.
        half: whether to round them to half precision, in any place.
        budget: free memory.

    Raises:
        ConfigError: they do not fit in the requested place.
        DataError: a number is not finite, or too large for half precision.
    """
    if half:
        stores = {kind: HalfFeatures(store) for kind, store in stores.items()}
    size = sum(math.prod(store.shape) * bytes_per_number(store) for store in stores.values())
    place, reason = choose_place(requested, size, budget)
    rounded = " (rounded to half precision)" if half else ""
    device = budget.device if place == "device" else torch.device("cpu")
    where = {"disk": "stay on disk", "memory": "are in memory", "device": f"are on {device}"}[place]
    logger.info("training features of %s%s %s: %s", _size(size), rounded, where, reason)
    if place == "disk":
        return dict(stores)
    return {kind: InMemoryFeatures(store, device, kind) for kind, store in stores.items()}


def _size(size: int) -> str:
    """Format a number of bytes."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
