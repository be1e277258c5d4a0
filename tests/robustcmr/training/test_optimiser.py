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
        assert lr_factor(options, epoch, 100, epoch / 6) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        reference.step()


def test_warm_up_grows_linearly() -> None:
    options = OptimOptions(warmup_steps=4)
    assert [lr_factor(options, 0, step, 0.0) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_the_cosine_as_torch_has_it() -> None:
    options = OptimOptions(schedule="cosine")
    epochs, steps = 3, 5
    optimiser = torch.optim.SGD([parameter()], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=epochs * steps)
    for taken in range(epochs * steps + 1):
        found = lr_factor(options, taken // steps, taken, taken / (epochs * steps))
        assert found == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-12)
        optimiser.step()
        reference.step()


def test_the_cosine_begins_at_1_and_ends_at_0_whatever_the_warm_up() -> None:
    options = OptimOptions(schedule="cosine", warmup_steps=4)
    assert lr_factor(options, 0, 100, 0.0) == 1.0
    assert lr_factor(options, 9, 100, 1.0) == pytest.approx(0.0, abs=1e-15)
    assert lr_factor(options, 0, 1, 0.5) == pytest.approx(0.5 * 0.5)


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_betas_reach_every_group(name: str) -> None:
    groups = [{"params": [parameter()]}, {"params": [parameter()], "lr": 2e-6}]
    optimiser = build_optimiser(groups, OptimOptions(name=name, betas=(0.5, 0.99)))
    assert [group["betas"] for group in optimiser.param_groups] == [(0.5, 0.99)] * 2
    usual = build_optimiser(groups, OptimOptions(name=name))
    assert usual.defaults["betas"] == torch.optim.Adam([parameter()]).defaults["betas"]


def test_betas_weigh_the_first_two_gradients() -> None:
    """With beta 0 the second step follows the second gradient alone."""
    moved = {}
    for first in (0.0, 0.9):
        own = parameter()
        optimiser = build_optimiser(
            [{"params": [own]}], OptimOptions(name="adam", lr=0.1, weight_decay=0.0, betas=(first, 0.999))
        )
        for gradient in (1.0, -1.0):
            before = own.detach().clone()
            own.grad = torch.full_like(own, gradient)
            optimiser.step()
        moved[first] = float((own.detach() - before)[0])
    assert moved[0.0] == pytest.approx(0.1, rel=1e-3)
    assert abs(moved[0.9]) < 0.01


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
