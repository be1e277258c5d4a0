"""``robustcmr eval``: what it asks for and how it shows the answer."""

import json
from pathlib import Path

import pytest

from robustcmr.jobs import evaluate as jobs

MEASURES = {f"{way}_{key}": 12.5 for way in ("i2t", "t2i") for key in ("r1", "r5", "r10")} | {"rsum": 75.0}


@pytest.fixture
def asked(monkeypatch):
    """What the job was asked to do, in place of doing it."""
    calls = []

    def evaluate(paths, split, folds, checkpoint, device, trusted):
        calls.append((paths, split, folds, checkpoint, device, trusted))
        return {
            "runs": [str(path) for path in paths],
            "epochs": [7 if checkpoint == "best" else None for _ in paths],
            "n_models": len(paths),
            "split": split,
            "protocol_name": "five folds" if folds else "whole split",
            "metrics": MEASURES,
        }

    monkeypatch.setattr(jobs, "evaluate", evaluate)
    return calls


def test_one_run(robustcmr, asked):
    outcome = robustcmr("eval", "runs/a")
    assert asked == [([Path("runs/a")], "test", None, "best", None, False)]
    assert outcome.code == 0
    assert "test (whole split)" in outcome.out
    assert "75.0" in outcome.out
    assert outcome.out.endswith("one model: runs/a (best, epoch 7)\n")


def test_an_ensemble_is_said_aloud(robustcmr, asked):
    outcome = robustcmr(
        *("eval", "runs/a", "runs/b", "--split", "testall", "--fold5"),
        *("--checkpoint", "last", "--device", "cpu"),
    )
    assert asked == [([Path("runs/a"), Path("runs/b")], "testall", 5, "last", "cpu", False)]
    assert "testall (five folds)" in outcome.out
    assert outcome.out.endswith("ENSEMBLE of 2 models, scores averaged: runs/a (last), runs/b (last)\n")


def test_as_json(robustcmr, asked):
    assert json.loads(robustcmr("eval", "runs/a", "--json").out)["metrics"] == MEASURES


def test_an_unknown_checkpoint(robustcmr, asked):
    outcome = robustcmr("eval", "runs/a", "--checkpoint", "middle")
    assert (outcome.code, asked) == (2, [])
    assert outcome.err == "robustcmr: --checkpoint is 'middle', expected best or last\n"


def test_a_folder_without_a_run(robustcmr, tmp_path):
    outcome = robustcmr("eval", tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"robustcmr: {tmp_path} holds no run")


def test_labelled_runs_are_shown_by_map(robustcmr, monkeypatch):
    found = {"map": 61.0, "map_i2t": 60.0, "map_t2i": 62.0}
    told = {"runs": ["a"], "epochs": [3], "n_models": 1, "protocol_name": "full", "metrics": found}
    monkeypatch.setattr(jobs, "evaluate", lambda *asked: told)
    outcome = robustcmr("eval", "runs/a")
    assert "mAP" in outcome.out
    assert "test (full)" in outcome.out
    assert "61.0" in outcome.out
