"""Describe the machine, the package versions and the command of a run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

from robustcmr.errors import UserError

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


def user_folder(variable: str, base: str, below_home: Path) -> Path:
    """Return the package's folder of one kind of the user's files.

    Args:
        variable: environment variable that names it.
        base: environment variable of the parent folder, such as ``XDG_CACHE_HOME``; Windows has
            ``LOCALAPPDATA`` instead.
        below_home: the parent folder below the user's home, where neither is set.

    Raises:
        UserError: no variable is set and the user has no home folder.
    """
    if given := os.environ.get(variable, ""):
        return Path(given)
    parent = Path(os.environ.get("LOCALAPPDATA" if os.name == "nt" else base, ""))
    if parent.is_absolute():
        return parent / "robustcmr"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise UserError(
            "found no home folder; "
            f"set the environment variable {variable} to a folder, such as /tmp/robustcmr"
        ) from error
    return home / (Path("AppData") / "Local" if os.name == "nt" else below_home) / "robustcmr"


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
