"""The optimiser and its learning rate as a function of epoch and step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from robustcmr.config.schema import OptimOptions


def build_optimiser(groups: Sequence[dict[str, Any]], options: OptimOptions) -> torch.optim.Optimizer:
    """Return Adam or AdamW over torch parameter groups, which may set their ``lr`` and an ``lr_factor``."""
    prepared = [
        {**group, "base_lr": group.get("lr", options.lr) * group.get("lr_factor", 1.0)}
        for group in groups
        if group["params"]
    ]
    kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    optimiser: torch.optim.Optimizer = kinds[options.name](
        prepared, lr=options.lr, betas=tuple(options.betas), weight_decay=options.weight_decay
    )
    return optimiser


def lr_factor(options: OptimOptions, epoch: int, global_step: int, done: float) -> float:
    """Return the factor of every learning rate, in [0, 1].

    With warm-up w = min(1, (global_step + 1) / warmup_steps), it is w * (1 + cos(pi * done)) / 2 under
    ``cosine``, and w * decay ** (number of milestones <= epoch) under ``milestones``; ``epoch`` and
    ``global_step`` count from 0, and ``done`` in 0..1 is the share of the training that has passed.
    """
    warm = min(1.0, (global_step + 1) / options.warmup_steps) if options.warmup_steps else 1.0
    if options.schedule == "cosine":
        return warm * 0.5 * (1.0 + math.cos(math.pi * done))
    passed = sum(epoch >= milestone for milestone in options.milestones)
    return float(options.decay**passed * warm)


def set_lr(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to ``factor`` times its base rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
