"""The job that measures runs: alone, together, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustcmr.config.resolve import resolve
from robustcmr.errors import ConfigError
from robustcmr.jobs.evaluate import evaluate
from robustcmr.jobs.train import train


@pytest.fixture
def runs(tiny_tree: dict[str, Any], tmp_path: Path) -> list[Path]:
    """Two runs on the same data, of different seeds."""
    tree = {**tiny_tree, "training": {**tiny_tree["training"], "epochs": 1}}
    return [train(resolve({**tree, "seed": seed}), tmp_path / f"run{seed}").path for seed in (0, 1)]


def test_one_run_and_an_ensemble(runs: list[Path]) -> None:
    alone = [evaluate([path], "test", device="cpu") for path in runs]
    both = evaluate(runs, "test", device="cpu")
    assert [found["n_models"] for found in (*alone, both)] == [1, 1, 2]
    assert both["by_model"] == [found["metrics"] for found in alone]
    assert both["metrics"] != alone[0]["metrics"]
    assert both["runs"] == [str(path) for path in runs]
    assert (both["split"], both["track"], both["checkpoint"]) == ("test", "pairs", "best")


def test_what_cannot_be_measured_is_refused(runs: list[Path]) -> None:
    with pytest.raises(ConfigError, match=r"no holdout split here.* one of them, such as --split test"):
        evaluate(runs, "holdout")
    with pytest.raises(ConfigError, match="no run folder was given"):
        evaluate([], "test")
