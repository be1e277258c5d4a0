"""Where the training features stay changes nothing but time and memory."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from robustcmr.config.resolve import resolve
from robustcmr.jobs.train import resume, train
from robustcmr.training.loop import Trainer


def run(tree: dict[str, Any], output: Path, **options: Any) -> dict[str, torch.Tensor]:
    config = resolve({**tree, "training": {**tree["training"], **options}})
    folder = train(config, output)
    return load_file(next(folder.checkpoint("last").glob("matcher_0*")))


def said(output: Path) -> list[str]:
    lines = (output / "log.txt").read_text(encoding="utf-8").splitlines()
    return [line.partition("training features of ")[2] for line in lines if "training features of" in line]


@pytest.mark.parametrize("half", [False, True])
def test_every_store_trains_to_the_same_weights(
    tiny_tree: dict[str, Any], tmp_path: Path, half: bool
) -> None:
    found = {
        store: run(tiny_tree, tmp_path / store, store=store, half_features=half)
        for store in ("disk", "memory", "device")
    }
    for name, weight in found["disk"].items():
        assert torch.equal(weight, found["memory"][name])
        assert torch.equal(weight, found["device"][name])
    assert [len(said(tmp_path / store)) for store in found] == [1, 1, 1]
    assert "stay on disk: as requested" in said(tmp_path / "disk")[0]
    assert "are in memory: as requested" in said(tmp_path / "memory")[0]
    assert "are on cpu: as requested" in said(tmp_path / "device")[0]
    assert all(("half precision" in said(tmp_path / store)[0]) == half for store in found)


def test_a_resumed_run_holds_them_again(
    tiny_tree: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = run(tiny_tree, tmp_path / "whole", store="memory")

    class StoppedError(Exception):
        pass

    save = Trainer.save

    def stop(self: Trainer) -> None:
        save(self)
        raise StoppedError

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "save", stop)
        with pytest.raises(StoppedError):
            run(tiny_tree, tmp_path / "part", store="memory")
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="robustcmr"):
        folder = resume(tmp_path / "part")
    assert any("are in memory: as requested" in message for message in caplog.messages)
    found = load_file(next(folder.checkpoint("last").glob("matcher_0*")))
    assert all(torch.equal(weight, found[name]) for name, weight in expected.items())
