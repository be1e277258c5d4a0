"""A trained run taken up again: the weights of the checkpoint that was asked for, or a sentence."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import safetensors.torch
import torch

from robustcmr.config.resolve import resolve
from robustcmr.errors import CheckpointError, RunFolderError
from robustcmr.jobs.open import open_run
from robustcmr.jobs.train import train


@pytest.fixture
def tree(tiny_tree: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_tree, "training": {**tiny_tree["training"], "epochs": 1}}


def test_weights_and_measures_are_those_of_the_run(tree, tmp_path):
    run = train(resolve(tree), tmp_path / "run")
    (weights,) = run.checkpoint("last").glob("*.safetensors")  # of one epoch, so the same as the best
    changed = {key: value + 1 for key, value in safetensors.torch.load_file(weights).items()}
    safetensors.torch.save_file(changed, weights)
    for checkpoint in ("last", "best"):
        loaded = open_run(run.path, checkpoint=checkpoint, device="cpu")
        saved = safetensors.torch.load_file(next(run.checkpoint(checkpoint).glob("*.safetensors")))
        found = {key.rpartition("matcher_0.")[2]: value for key, value in saved.items()}
        state = loaded.matchers[0].state_dict()
        assert state.keys() <= found.keys()
        assert all(torch.equal(found[key], value) for key, value in state.items())
    measured = loaded.track.evaluate(loaded.matchers, "test", loaded.device)
    assert measured == run.read_results()["splits"]["test"]
    assert open_run(run.path, accelerator=loaded.accelerator).accelerator is loaded.accelerator


def test_what_is_missing_is_told(tree, tmp_path):
    with pytest.raises(RunFolderError, match="holds no run"):
        open_run(tmp_path / "nothing")
    run = train(resolve(tree), tmp_path / "run")
    shutil.rmtree(run.checkpoint("best"))
    with pytest.raises(CheckpointError, match="has no best checkpoint yet"):
        open_run(run.path)
