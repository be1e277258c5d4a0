"""The final estimate of a method: its table, its charts and its figures, by the track."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from robustcmr.config.resolve import resolve
from robustcmr.errors import PluginError
from robustcmr.jobs.findings import report_findings
from robustcmr.jobs.open import build_matchers
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.tracks.build import build_track
from robustcmr.training import processes
from robustcmr.training.devices import build_accelerator
from robustcmr.types import Division, LabelEstimate

N = 200


def division(clean: np.ndarray) -> Division:
    return Division(
        clean_probability=clean.astype(np.float64),
        threshold=0.5,
        is_clean=clean,
        evidence=1.0 - clean,
        bimodal=True,
        reason="two groups",
        noise_rate=0.25,
        noise_interval=(0.2, 0.3),
    )


@pytest.fixture
def trained(tiny_tree: dict[str, Any]) -> Callable[..., Any]:
    """What the job needs of a trainer whose method makes a given estimate."""

    def make(estimate: Any, best_row: dict[str, Any] | None = None) -> Any:
        config = resolve(tiny_tree)
        track, accelerator = build_track(config), build_accelerator("cpu", "fp32")
        torch.manual_seed(0)
        return SimpleNamespace(
            track=track,
            settings=config.settings,
            accelerator=accelerator,
            matchers=build_matchers(config, track.spec, accelerator),
            method=SimpleNamespace(estimate=lambda scorer: estimate),
            scorer=lambda epoch: lambda evidence, matcher: np.arange(N, dtype=np.float32),
            best_row=best_row or {},
        )

    return make


def test_no_estimate_leaves_nothing(trained: Any, tmp_path: Path) -> None:
    assert report_findings(trained(None), RunFolder(tmp_path / "run")) == {}
    assert not (tmp_path / "run").exists()


def test_a_division_is_written_with_its_agreement(trained: Any, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    trainer = trained(None)
    wrong = trainer.track.mismatched()
    trainer = trained(division(~wrong), {"epoch": 3, "rematch": {"plan": 0.5}})
    found = report_findings(trainer, run)
    assert list(found) == [
        *("epoch", "reason", "suspected", "noise_rate", "noise_interval", "division", "rematch")
    ]
    assert found["epoch"] == 3
    assert found["suspected"] == wrong.mean()
    assert (found["division"]["precision"], found["division"]["recall"]) == (1.0, 1.0)
    assert found["rematch"] == {"plan": 0.5}
    table = PairsTable.read(run.pairs)
    np.testing.assert_array_equal(table.is_clean, ~wrong)
    np.testing.assert_array_equal(table.image, trainer.track.pairing.image_of_caption)
    np.testing.assert_array_equal(table.score, np.arange(N))
    assert (run.plots / "evidence.png").is_file()


def test_an_estimate_of_another_track_is_refused(trained: Any, tmp_path: Path) -> None:
    labels = LabelEstimate(np.zeros(N, np.int64), np.ones(N), np.zeros(N))
    with pytest.raises(PluginError, match="a LabelEstimate on the pairs track; return a Division"):
        report_findings(trained(labels), RunFolder(tmp_path / "run"))


def test_other_processes_write_nothing(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trained(division(np.ones(N, bool)))
    monkeypatch.setattr(processes, "is_writer", lambda: False)
    assert report_findings(trainer, RunFolder(tmp_path / "run")) == {}
    assert not (tmp_path / "run").exists()
