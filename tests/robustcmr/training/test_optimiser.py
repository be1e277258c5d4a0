from __future__ import annotations

import pytest
import torch

from robustcmr.config.schema import OptimOptions
from robustcmr.training.optimiser import build_optimiser, lr_factor, set_lr


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(2))


def test_milestones_as_torch_has_them() -> None:
    options = OptimOptions(milestones=(2, 4), decay=0.1)
    optimiser = torch.optim.SGD([parameter()], lr=1.0)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimiser, [2, 4], 0.1)
    for epoch in range(6):
        assert lr_factor(options, epoch, 100) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        reference.step()


def test_warm_up_grows_linearly() -> None:
    options = OptimOptions(warmup_steps=4)
    assert [lr_factor(options, 0, step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_groups_keep_their_own_rate(name: str, kind: type) -> None:
    groups = [{"params": [parameter()]}, {"params": [parameter()], "lr": 2e-6}, {"params": []}]
    optimiser = build_optimiser(groups, OptimOptions(name=name, lr=1e-3, weight_decay=0.02))
    assert type(optimiser) is kind
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.02, 0.02]
    set_lr(optimiser, 0.5)
    assert [group["lr"] for group in optimiser.param_groups] == [5e-4, 1e-6]
    set_lr(optimiser, 0.1)  # from the base rate, not from the last one
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([1e-4, 2e-7])


def test_factors_multiply_the_rate_of_their_group() -> None:
    groups = [
        {"params": [parameter()], "lr_factor": 0.1},
        {"params": [parameter()], "lr": 1e-4, "lr_factor": 0.5},
        {"params": [parameter()]},
    ]
    optimiser = build_optimiser(groups, OptimOptions(lr=1e-3))
    set_lr(optimiser, 0.5)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([5e-5, 2.5e-5, 5e-4])
