"""How a device is asked for, whether by a configuration or by an option of a command."""

from __future__ import annotations

import re

EXPECTED = "auto, cpu, cuda, cuda:N or mps"


def is_device_name(name: str) -> bool:
    """Whether a name is one of those expected; not whether this machine has such a device."""
    return re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", name) is not None
