"""What a run of a dividing method says about the pairs: table, picture, metrics, results and commands."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from noise_injection import load_noise
from robustcmr.cli.output import report_run
from robustcmr.config.resolve import resolve
from robustcmr.evaluation.diagnosis import DivisionDiagnosis
from robustcmr.jobs.train import train
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.pairs_table import PairsTable

# divides from the second epoch on, and finds two groups whatever the evidence
L2RM = {
    "name": "l2rm",
    "warmup_epochs": 1,
    "mixture": "gaussian",
    "mass": 0.6,
    "epsilon": 0.1,
}


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "robustcmr", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stderr
    return done


def read_table(run: RunFolder) -> list[dict[str, str]]:
    with run.pairs.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def dividing(tiny_tree: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_tree, "method": L2RM, "training": {**tiny_tree["training"], "epochs": 2}}


def test_a_dividing_run_tells_what_it_believes(
    dividing: dict[str, Any], data_folder: Path, tmp_path: Path
) -> None:
    recipe, run = tmp_path / "recipe.yaml", RunFolder(tmp_path / "run")
    recipe.write_text(yaml.safe_dump(dividing))
    done = command("train", "--config", recipe, "--output", run.path, "--verbose")
    results = run.read_results()
    assert results is not None
    given, _ = load_noise(run.noise, np.arange(200) // 5, 40, results["data_fingerprint"])
    captions = (data_folder / "train_caps.txt").read_text().splitlines()

    table = read_table(run)
    assert list(table[0]) == [column.name for column in PairsTable.columns if column.name != "id"]
    assert [int(row["pair"]) for row in table] == list(range(200))
    assert [row["caption"] for row in table] == captions
    assert [int(row["image"]) for row in table] == given.tolist()
    for row in table:
        assert 0 <= float(row["clean_probability"]) <= 1
        assert row["decision"] == ("clean" if float(row["clean_probability"]) > 0.5 else "suspect")
        assert 0 <= int(row["rematch"]) < 40
        assert row["rematch"] != row["image"]
        difference = float(row["rematch_score"]) - float(row["score"])
        assert float(row["margin"]) == pytest.approx(difference, abs=2e-6)

    warming, divided = run.read_metrics()
    assert not {"division", "rematch", "suspected"} & warming.keys()
    assert divided["division"].keys() <= DivisionDiagnosis.__dataclass_fields__.keys()
    assert divided["division"]["suspected"] == divided["suspected"] > 0
    assert divided["rematch"]["mass"] == pytest.approx(0.6, rel=0.02)

    beliefs = results["findings"]
    wrong, suspected = given != np.arange(200) // 5, [row["decision"] == "suspect" for row in table]
    assert beliefs["division"]["noise_rate_true"] == wrong.mean() == results["noise_ratio_realised"]
    assert beliefs["division"]["suspected"] == np.mean(suspected)
    assert beliefs["division"]["accuracy"] == pytest.approx((wrong == suspected).mean())
    assert beliefs["reason"].startswith("two groups")
    best = run.read_metrics()[results["best_epoch"] - 1]
    assert beliefs.get("rematch") == best.get("rematch")

    with Image.open(run.plots / "evidence.png") as picture:
        assert picture.width > 300

    lines = done.stdout.splitlines()
    names = [next((i for i, line in enumerate(lines) if name in line), -1) for name in ("AUROC", "F1", "ECE")]
    assert names[0] > 0
    assert len(set(names)) == 1
    figures = lines[names[0] + 2].split()
    assert figures[:3] == ["train,", "epoch", "2"]
    assert figures[3] == f"{100 * beliefs['division']['auroc']:.1f}"
    assert results["best_epoch"] == 2  # so there was rematching in it
    row = next(line.split() for line in lines if line.startswith("during epoch 2"))
    assert row[3] == f"{100 * beliefs['rematch']['plan']:.1f}"

    shown = command("suspects", run.path, "--top", 7)
    total = sum(suspected)
    assert f"{total} of 200 pairs ({total / 200:.1%}) are suspected, the worst 7 shown" in shown.stdout
    assert "precomp holds features without pictures" in shown.stderr
    worst = min(table, key=lambda row: (float(row["clean_probability"]), -float(row["evidence"])))
    first = next(line for line in shown.stdout.splitlines() if "thing" in line)
    assert first.split()[:2] == [worst["pair"], f"{100 * float(worst['clean_probability']):.1f}"]
    assert worst["caption"] in first


def printed(run: RunFolder, capsys: Any) -> set[str]:
    """Which of the words to look for the final report holds."""
    capsys.readouterr()
    report_run(run, as_json=False, verbose=True)
    said = capsys.readouterr().out
    return {word for word in ("rSum", "AUROC", "during epoch", "suspects") if word in said}


def test_nothing_is_judged_where_the_truth_is_not_known(
    dividing: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    trusted = train(resolve(dividing), tmp_path / "trusted")
    unknown = {**dividing, "data": {**dividing["data"], "trusted": False}}
    run = train(resolve(unknown), tmp_path / "unknown")
    assert run.pairs.read_bytes() == trusted.pairs.read_bytes()  # beliefs are the same
    assert (run.plots / "evidence.png").is_file()
    assert run.read_metrics()[1]["rematch_loss"] > 0
    for row in run.read_metrics():
        assert not {"division", "rematch"} & row.keys()
    results = run.read_results()
    assert results is not None
    assert not {"division", "rematch"} & results["findings"].keys()
    assert {"division", "rematch"} <= (trusted.read_results() or {})["findings"].keys()
    assert {"AUROC", "during epoch"} <= printed(trusted, capsys)
    assert "rSum" in printed(run, capsys)
    assert not {"AUROC", "during epoch"} & printed(run, capsys)


def test_a_method_without_beliefs_tells_none(tiny_tree: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    run = train(resolve({**tiny_tree, "training": {**tiny_tree["training"], "epochs": 1}}), tmp_path / "run")
    assert not run.pairs.exists()
    assert not (run.plots / "evidence.png").exists()
    assert "findings" not in (run.read_results() or {})
    for row in run.read_metrics():
        assert not {"division", "rematch"} & row.keys()
    assert not {"AUROC", "during epoch", "suspects"} & printed(run, capsys)
