"""Memory that may still be taken: of the machine, as far as a container is allowed to, and of a GPU."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where Linux says what the processes of a container may take together."""


def free_memory(group: Path = CONTROL_GROUP) -> int:
    """Bytes of main memory that are free, or would be once caches of files are given up.

    Args:
        group: folder of the control group; where there is none, the machine's free memory counts alone.
    """
    free = int(psutil.virtual_memory().available)
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        counts = dict(
            line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines()
        )
        if limit == "max":
            return free
        return max(0, min(free, int(limit) - used + int(counts["file"])))
    except (OSError, KeyError, ValueError):  # no Linux, no such group, or one of the older kind
        return free


def free_on_gpu(device: torch.device) -> int:
    """Bytes that are free on a CUDA device."""
    return int(torch.cuda.mem_get_info(device)[0])
