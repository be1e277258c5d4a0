"""The optimiser and its learning rate as a function of epoch and step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch


class OptimSettings(Protocol):
    """What is read of the ``optim`` section."""

    @property
    def name(self) -> str:
        """``adamw`` or ``adam``."""
        ...

    @property
    def lr(self) -> float:
        """Learning rate of groups without their own."""
        ...

    @property
    def weight_decay(self) -> float:
        """Weight decay of groups without their own."""
        ...

    @property
    def betas(self) -> tuple[float, float]:
        """Decay of the running means of the gradient and of its square."""
        ...

    @property
    def schedule(self) -> str:
        """``milestones`` or ``cosine``."""
        ...

    @property
    def milestones(self) -> Sequence[int]:
        """Epochs at which the rate is multiplied by ``decay``."""
        ...

    @property
    def decay(self) -> float:
        """Factor at each milestone."""
        ...

    @property
    def warmup_steps(self) -> int:
        """Steps of linear growth from 0."""
        ...


def build_optimiser(groups: Sequence[dict[str, Any]], settings: OptimSettings) -> torch.optim.Optimizer:
    """Adam or AdamW over the method's parameter groups.

    Args:
        groups: torch parameter groups; a group's own ``lr`` is kept, ``lr_factor`` multiplies it.
        settings: the ``optim`` section.
    """
    prepared = [
        {**group, "base_lr": group.get("lr", settings.lr) * group.get("lr_factor", 1.0)}
        for group in groups
        if group["params"]
    ]
    kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    optimiser: torch.optim.Optimizer = kinds[settings.name](
        prepared, lr=settings.lr, betas=tuple(settings.betas), weight_decay=settings.weight_decay
    )
    return optimiser


def lr_factor(settings: OptimSettings, epoch: int, global_step: int, done: float) -> float:
    """What multiplies every learning rate, in [0, 1].

    Args:
        settings: the ``optim`` section.
        epoch: from 0.
        global_step: steps taken before this one.
        done: share of the whole training that has passed, in 0..1; the cosine falls by it from 1 to 0.
    """
    warm = min(1.0, (global_step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    if settings.schedule == "cosine":
        return warm * 0.5 * (1.0 + math.cos(math.pi * done))
    passed = sum(epoch >= milestone for milestone in settings.milestones)
    return float(settings.decay**passed * warm)


def set_lr(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its base rate times ``factor``."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
