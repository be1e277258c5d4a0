"""Whether Triton's kernels can run on a device, and the fallback where a compiler fails."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch

_OLDEST = (8, 0)  # compute capability: products of float32 on tensor cores begin there
_log = logging.getLogger(__name__)


def interpreted() -> bool:
    """Return whether kernels run in Triton's interpreter, on any device, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None


@lru_cache(maxsize=16)
def available(device: torch.device) -> bool:
    """Return whether kernels can run on a device; log once if a GPU must do without them.

    They run on NVIDIA GPUs of compute capability 8.0 or above with Triton installed, and on any device in
    Triton's interpreter (``TRITON_INTERPRET=1``).
    """
    if interpreted():
        return True
    if device.type != "cuda":
        return False
    if find_spec("triton") is None:
        reason = "triton is not installed"
    elif torch.version.hip is not None or torch.cuda.get_device_capability(device) < _OLDEST:
        reason = "the GPU is none of NVIDIA's of compute capability 8.0 or above"
    else:
        return True
    _log.warning("%s, so transport runs in many small kernels and takes longer", reason)
    return False


class Attempt:
    """Runs compiled functions until one of them cannot be built, which is logged as ``warning``.

    From then on the caller must do without.
    """

    def __init__(self, warning: str) -> None:
        self.warning = warning
        self.broken = False

    def __call__(self, function: Callable[..., Any], *inputs: Any) -> Any | None:
        """Return the function's result, or None if it fails, logged once, or failed before."""
        if self.broken:
            return None
        try:
            return function(*inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # no C compiler, no ptxas, too little shared memory: each has its own type
            self.broken = True
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            _log.warning("%s: %s", self.warning, reason)
            return None


def power_of_two(length: int) -> int:
    """Return the smallest power of two that is at least the length."""
    return 1 << max(0, length - 1).bit_length()


def on(tensor: torch.Tensor) -> torch.cuda.device:
    """Return a context that launches kernels on a tensor's GPU; no effect for other devices."""
    return torch.cuda.device(tensor.device.index if tensor.is_cuda else -1)
