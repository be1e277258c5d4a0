"""Device names accepted by configurations and commands."""

from __future__ import annotations

import re

EXPECTED = "auto, cpu, cuda, cuda:N or mps"


def is_device_name(name: str) -> bool:
    """Return whether a name is well formed; the machine may still lack such a device."""
    return re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", name) is not None
