"""Run folders written without training anything."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
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


def fake_summary(pairs: int = 1000, **changes: Any) -> dict[str, Any]:
    """``summary.json`` of an audit of that many pairs, a fifth of which look wrong."""
    drop, review, aside = pairs // 5, pairs // 20, pairs // 100
    values = {
        "pairs": pairs,
        "decisions": {"keep": pairs - drop - review - aside, "drop": drop, "review": review, "aside": aside},
        "reasons": {
            "drop": {"looks mismatched": drop - drop // 4, "boilerplate caption": drop // 4},
            "review": {"may be mismatched": review},
            "aside": {"empty caption": aside},
        },
        "noise_rate": {
            "value": 0.21,
            "low": 0.19,
            "high": 0.23,
            "says": "looks randomly mismatched: 21.0% (19.0 to 23.0)",
        },
        "problems": [{"problem": "empty caption", "pairs": aside, "first": "a.csv row 3"}] if aside else [],
        "says": ["the column 'caption' is read as captions"],
    }
    return {**values, **changes}


def fake_about(**changes: Any) -> dict[str, Any]:
    """``audit.json`` of an audit."""
    values = {
        "robustcmr_version": "0.2.0",
        "command": "robustcmr audit a.csv -o audits/a",
        "source": {"format": "csv", "root": "a.csv", "files": 1, "columns": {"text": "caption"}},
        "fingerprint": {"a.csv": "f" * 64},
        "settings": {"sources": ["a.csv"], "image": "image", "text": "caption", "id": "id", "where": None},
    }
    return {**values, **changes}


def write_audit(folder: Path, summary: dict[str, Any] | None = None, **columns: list[Any]) -> Path:
    """A folder as a finished audit leaves it; ``columns`` replace those of ``pairs.parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    summary = fake_summary() if summary is None else summary
    decisions = [
        (decision, reason)
        for decision, reasons in summary["reasons"].items()
        for reason, count in reasons.items()
        for _ in range(count)
    ]
    decisions += [("keep", None)] * (summary["pairs"] - len(decisions))
    count, chance = len(decisions), {"keep": 0.1, "drop": 0.9, "review": 0.5, "aside": None}
    middle = [None if chance[d] is None else chance[d] + 0.05 * (i % 2) for i, (d, _) in enumerate(decisions)]
    values: dict[str, list[Any]] = {
        "id": [f"pair-{i:04d}" for i in range(count)],
        "image": [f"images/{i // 5:04d}.png" for i in range(count)],
        "caption": [f"caption {i}" for i in range(count)],
        "file": ["captions.csv"] * count,
        "row": list(range(count)),
        "score": [None if m is None else 0.5 - m for m in middle],
        "p_mismatch": middle,
        "p_low": [None if m is None else m - 0.04 for m in middle],
        "p_high": [None if m is None else m + 0.04 for m in middle],
        "decision": [decision for decision, _ in decisions],
        "reason": [reason for _, reason in decisions],
        "duplicate_of": [None] * count,
        "caption_count": [1] * count,
        "calibrated_by": ["these pairs"] * count,
        **columns,
    }
    kinds = {
        "row": pa.int64(),
        "score": pa.float64(),
        "p_mismatch": pa.float64(),
        "duplicate_of": pa.string(),
    }
    folder.mkdir(parents=True)
    arrays = {name: pa.array(column, kinds.get(name)) for name, column in values.items()}
    pq.write_table(pa.table(arrays), folder / "pairs.parquet")
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "audit.json").write_text(json.dumps(fake_about()))
    return folder


@pytest.fixture
def make_audit() -> Any:
    """Write the folder of a finished audit: ``make_audit(folder, summary, **columns)``."""
    return write_audit


@pytest.fixture
def make_summary() -> Any:
    """Return a ``summary.json``: ``make_summary(pairs, **changes)``."""
    return fake_summary


@pytest.fixture
def make_about() -> Any:
    """Return an ``audit.json``: ``make_about(**changes)``."""
    return fake_about


@pytest.fixture
def audited_pictures(tmp_path: Path) -> Path:
    """The folder of a finished audit of 100 pairs of 20 PNG files, named in a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    from robustcmr.sources.fingerprint import fingerprint
    from robustcmr.sources.guess import open_source

    names = [f"{i // 5:04d}.png" for i in range(100)]
    for place, name in enumerate(dict.fromkeys(names)):
        Image.new("RGB", (300, 200), (12 * place, 0, 0)).save(tmp_path / name)
    captions = [f"caption {i} <b>" for i in range(100)]
    file = tmp_path / "shop.parquet"
    pq.write_table(
        pa.table({"id": [f"pair-{i:04d}" for i in range(100)], "image": names, "text": captions}), file
    )
    folder = write_audit(
        tmp_path / "audit", fake_summary(100), image=names, caption=captions, file=["shop.parquet"] * 100
    )
    source = {"format": "parquet", "root": str(file), "files": 1, "columns": {}}
    about = fake_about(
        source=source, settings={"sources": [str(file)]}, fingerprint=fingerprint(open_source(file))
    )
    (folder / "audit.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The module that makes pairs and vectors to audit."""
    pytest.importorskip("duckdb", reason="the extra audit is not installed")
    spec = importlib.util.spec_from_file_location("made_audits", Path(__file__).parent / "audit" / "made.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its classes are looked up
    spec.loader.exec_module(module)
    return module
