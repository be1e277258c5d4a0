"""Random generators: each follows from the run's seed, epoch and step, or is saved in checkpoints."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch (all devices), NumPy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # third-party code may draw from the global generator
    random.seed(seed)


def generator_for(*keys: int) -> np.random.Generator:
    """Return an independent generator for a place in the run, such as (seed, purpose, epoch, step)."""
    # a seed sequence ignores trailing zeros, hence the length
    return np.random.default_rng(np.random.SeedSequence((len(keys), *keys)))


def capture_generators() -> dict[str, Any]:
    """Return the states of all global generators, as tensors and plain values."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }


def restore_generators(state: Mapping[str, Any]) -> None:
    """Restore all global generators from :func:`capture_generators`."""
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count() > 0:
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
