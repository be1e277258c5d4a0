"""Run folders written without training anything."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

RECALLS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10")


def fake_results(headline: float = 300.0, **changes: Any) -> dict[str, Any]:
    """What a run on pairs leaves, with six equal recalls that add up to ``headline``."""
    seed, ratio = changes.get("seed", 0), changes.get("noise_ratio", 0.4)
    drawn = f"{changes.get('protocol', 'caption')} {ratio} {seed}"
    measures = dict.fromkeys(RECALLS, headline / 6)
    ranks = {f"{way}_{kind}_rank": 3.0 for way in ("i2t", "t2i") for kind in ("median", "mean")}
    sizes = {"n_images": 10, "n_captions": 50}
    values = {
        "data": "scenes",
        "matcher": "omit",
        "method": "hinge",
        "seed": seed,
        "n_models": 1,
        "track": "pairs",
        "data_fingerprint": "f" * 64,
        "training_pairs": 1000,
        "protocol": "caption",
        "noise_kind": "mismatch",
        "noise_ratio": ratio,
        "noise_ratio_realised": ratio,
        "noise_hash": hashlib.sha256(drawn.encode()).hexdigest(),
        "noise": {"kind": "mismatch", "seed": seed},
        "selection_split": "dev",
        "best_epoch": 1,
        "epochs": 1,
        "splits": {
            "dev": {**measures, **ranks, **sizes, "rsum": headline},
            "test": {**measures, **ranks, **sizes, "rsum": headline},
        },
        "parameters": 1234,
        "device": "cpu",
        "precision": "fp32",
        "seconds": 1.5,
        "peak_memory_bytes": {"cpu": 2**30},
        "robustcmr_version": "0.1.0",
    }
    return {**values, **changes}


def fake_config(results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The configuration that belongs to such results."""
    return {
        "seed": results["seed"],
        "data": {"name": results["data"]},
        "matcher": {"name": results["matcher"], "dim": 16},
        "method": {"name": results["method"]},
        "noise": {"ratio": results["noise_ratio"], "protocol": results["protocol"], "seed": None},
        "optim": {"lr": 0.002},
        "training": {"epochs": results["epochs"], "device": "auto"},
        **changes,
    }


def write_run(path: Path, results: dict[str, Any] | None = None, **config: Any) -> Path:
    """A folder of a finished run with these results."""
    results = fake_results() if results is None else results
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(fake_config(results, **config)))
    (path / "environment.json").write_text(json.dumps({"command": "robustcmr train", "python": "3.11"}))
    (path / "results.json").write_text(json.dumps(results))
    row = {"epoch": 1, "loss": 0.5, "dev": results.get("splits", {}).get("dev", {}), "seconds": 1.0}
    (path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return path


@pytest.fixture
def make_results() -> Any:
    """The function that makes results."""
    return fake_results


@pytest.fixture
def make_run() -> Any:
    """The function that writes folders of finished runs."""
    return write_run
