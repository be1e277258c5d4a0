"""Fused parts and losses: used only where wished for, with the same results, and the warm-up told."""

import logging

import pytest
import torch
from torch import nn

from robustcmr.config.resolve import resolve
from robustcmr.jobs.train import train
from robustcmr.losses import fusing
from robustcmr.losses.cross_entropy import infonce_loss
from robustcmr.losses.fusing import fused_losses, fusible
from robustcmr.training.compilation import WarmUp


@pytest.fixture
def compiled(monkeypatch):
    """Names of what was compiled; nothing is."""
    names = []

    def note(function, **options):
        assert options["dynamic"] is True
        names.append(getattr(function, "__qualname__", str(function)))
        return function

    monkeypatch.setattr(torch, "compile", note)
    monkeypatch.setattr(fusing, "_compiled", {})
    return names


def test_a_loss_is_compiled_once_and_only_while_wished_for(compiled):
    @fusible
    def loss(x, *, power):
        """Power."""
        return x**power

    assert loss.__doc__ == "Power."
    assert loss(torch.tensor(3.0), power=2) == 9
    with fused_losses(False):
        loss(torch.tensor(3.0), power=2)
    assert compiled == []
    with fused_losses():
        assert [loss(torch.tensor(x), power=2).item() for x in (2.0, 3.0)] == [4, 9]
    loss(torch.tensor(3.0), power=2)
    assert len(compiled) == 1


def test_the_wish_ends_with_an_error(compiled):
    with pytest.raises(ValueError, match="scores"), fused_losses():
        infonce_loss(torch.zeros(2, 3), 0.1)
    infonce_loss(torch.zeros(2, 2), 0.1)
    assert len(compiled) == 1


def test_the_warm_up_is_what_the_first_steps_took_longer(caplog):
    warm_up = WarmUp()
    with caplog.at_level(logging.INFO, "robustcmr"):
        for seconds in [10.0, 4.0, *[0.5] * 9]:
            warm_up.step(seconds)
        assert warm_up.seconds is None
        warm_up.step(0.5)
        warm_up.step(100.0)
    assert warm_up.seconds == pytest.approx(9.0 + 3.0)
    assert [record.message for record in caplog.records] == [
        "torch.compile took 12.0 s of the first 12 steps; a step then takes 0.500 s"
    ]


def test_a_run_compiles_encoders_and_losses_and_ends_the_same(compiled, tmp_path, monkeypatch):
    monkeypatch.setattr(nn.Module, "compile", lambda part, dynamic: compiled.append(type(part).__name__))
    tree = {
        "data": {"name": "scenes", "n_train": 30, "n_dev": 8, "n_test": 8},
        "method": "infonce",
        "training": {"epochs": 1, "batch_size": 10, "device": "cpu"},
        "optim": {"milestones": []},
    }
    plain = train(resolve(tree), tmp_path / "plain").read_results()
    assert compiled == []
    assert plain["compile_seconds"] is None
    tree["training"]["compile"] = True
    fused = train(resolve(tree), tmp_path / "fused").read_results()
    assert fused["splits"] == plain["splits"]
    assert fused["compile_seconds"] >= 0
    assert "infonce_loss" in compiled
    assert "RegionEncoder" in compiled
