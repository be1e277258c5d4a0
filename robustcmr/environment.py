"""Describe the machine, the package versions and the command of a run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("robustcmr", "torch", "accelerate", "numpy", "nltk", "pillow", "pydantic", "safetensors", "typer")


def processor_name() -> str:
    """Return the processor's model name, or its architecture where the system gives no name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def describe_environment() -> dict[str, Any]:
    """Return machine, Python, package versions and devices as plain values."""
    import psutil
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus,
        "cuda": torch.version.cuda,
        "packages": {name: _version(name) for name in PACKAGES},
        "command": [
            word.encode("utf-8", "backslashreplace").decode("utf-8")  # a file name may have other bytes
            for word in (Path(sys.argv[0]).name, *sys.argv[1:])
        ],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
