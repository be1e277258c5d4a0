"""Devices and precision, through accelerate."""

from __future__ import annotations

import sys

import psutil
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from robustcmr.device_names import EXPECTED, is_device_name
from robustcmr.errors import DeviceError


def check_device(device: str, precision: str) -> None:
    """Raise DeviceError if a device or precision is unknown or not available on this machine.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """
    if not is_device_name(device):
        raise DeviceError(f"unknown device '{device}', expected {EXPECTED}")
    kind, _, number = device.partition(":")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, True):
        maker = "CUDA" if kind == "cuda" else "Apple"
        raise DeviceError(
            f"device {kind} was requested, but torch sees no {maker} GPU here; use --device cpu or auto"
        )
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise DeviceError(
            f"device {device} was requested, but there are {torch.cuda.device_count()} GPUs, from cuda:0"
        )
    if precision == "fp16" and (kind == "cpu" or (kind == "auto" and not any(there.values()))):
        raise DeviceError("precision fp16 needs a GPU; use --precision bf16 or fp32 on the CPU")


def build_accelerator(device: str, precision: str) -> Accelerator:
    """Return an accelerator on the requested device, or on this process's own if several train together.

    Arguments and errors are those of :func:`check_device`.
    """
    check_device(device, precision)
    kind, _, number = device.partition(":")
    if kind == "cuda" and number:
        torch.cuda.set_device(int(number))
    # accelerate keeps device and precision in a process-wide singleton; a second run may need others
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=kind == "cpu", mixed_precision="no" if precision == "fp32" else precision)


def peak_memory_bytes(device: torch.device) -> dict[str, int]:
    """Return the peak memory so far, in bytes: of this process (``cpu``) and of torch on a GPU (``gpu``)."""
    peak = {"cpu": _peak_resident_bytes()}
    if device.type == "cuda":
        peak["gpu"] = torch.cuda.max_memory_allocated(device)
    return peak


def _peak_resident_bytes() -> int:
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # not available on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
