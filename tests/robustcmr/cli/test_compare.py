"""``robustcmr compare`` and ``robustcmr card`` from the command line."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from robustcmr.config.resolve import resolve
from robustcmr.jobs.train import train


@pytest.fixture(scope="module")
def runs(make_module_folder, tmp_path_factory):
    """Two methods, two seeds, one epoch each, beside a run that was not finished."""
    data, folder = make_module_folder, tmp_path_factory.mktemp("runs")
    for method in ("hinge", "infonce"):
        for seed in (0, 1):
            tree = {
                "data": {"name": "precomp", "root": str(data)},
                "matcher": {"name": "embeddings"},
                "method": {"name": method},
                "noise": {"ratio": 0.4},
                "seed": seed,
                "training": {"epochs": 1, "batch_size": 16, "device": "cpu"},
            }
            train(resolve(tree), folder / f"{method}-{seed}")
    stopped = folder / "stopped"
    stopped.mkdir()
    for name in ("config.yaml", "environment.json"):
        (stopped / name).write_bytes((folder / "hinge-0" / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def make_module_folder(tmp_path_factory):
    """Precomputed features of 40 images, made once."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, n in {"train": 40, "dev": 12, "test": 10}.items():
        np.save(root / f"{split}_ims.npy", rng.normal(size=(n, 3, 8)).astype(np.float32))
        lines = [f"a picture of thing{i % 7} and thing{j}" for i in range(n) for j in range(5)]
        (root / f"{split}_caps.txt").write_text("\n".join(lines) + "\n")
    return root


def headline(folder, name):
    return json.loads((folder / name / "results.json").read_text())["splits"]["test"]["rsum"]


def test_json_equals_the_run_folders(robustcmr, runs):
    outcome = robustcmr("compare", runs, "--format", "json")
    assert outcome.code == 0
    rows = {row["method"]: row for row in json.loads(outcome.out)["rows"]}
    for method in ("hinge", "infonce"):
        values = [headline(runs, f"{method}-{seed}") for seed in (0, 1)]
        assert rows[method]["values"] == values
        assert rows[method]["mean"] == pytest.approx(np.mean(values))
        assert rows[method]["std"] == pytest.approx(np.std(values, ddof=1))
    (difference,) = [row["difference"] for row in rows.values() if row["difference"]]
    gap = sorted(row["mean"] for row in rows.values())
    assert difference["over_queries"]["difference"] == pytest.approx(gap[0] - gap[1])
    assert f"left out, not finished: {runs / 'stopped'}\n" == outcome.err


def test_the_other_split_and_formats(robustcmr, runs, tmp_path):
    dev = json.loads(robustcmr("compare", runs, "--split", "dev", "--format", "json").out)
    assert dev["split"] == "dev"
    lines = list(csv.DictReader(io.StringIO(robustcmr("compare", runs, "--format", "csv").out)))
    assert len(lines) == 2
    assert "| **40% caption** |" in robustcmr("compare", runs, "--format", "markdown").out
    assert r"\toprule" in robustcmr("compare", runs, "--format", "latex").out
    assert "40% caption" in robustcmr("compare", runs).out
    file = tmp_path / "deep" / "table.txt"
    outcome = robustcmr("compare", runs, "-o", file)
    assert outcome.out == ""
    assert f"wrote {file}" in outcome.err
    assert "i2t R@10" in file.read_text()
    robustcmr("compare", runs, "--format", "csv", "-o", file)
    assert len(list(csv.DictReader(io.StringIO(file.read_text())))) == 2


def test_against_and_published(robustcmr, runs):
    tree = json.loads(robustcmr("compare", runs, "--against", "hinge", "--format", "json").out)
    assert {row["method"]: row["difference"] is None for row in tree["rows"]} == {
        "hinge": True,
        "infonce": False,
    }
    outcome = robustcmr("compare", runs, "--published", "f30k", "--format", "markdown")
    assert outcome.out.count("not measured here; ") == 13
    alone = robustcmr("compare", "--published", "all", "--format", "csv")
    assert alone.code == 0
    assert len(list(csv.DictReader(io.StringIO(alone.out)))) == 44


def test_mixtures_need_a_word(robustcmr, runs, tmp_path):
    copy = tmp_path / "image"
    copy.mkdir()
    for name in ("config.yaml", "environment.json", "metrics.jsonl"):
        (copy / name).write_bytes((runs / "hinge-0" / name).read_bytes())
    results = json.loads((runs / "hinge-0" / "results.json").read_text())
    (copy / "results.json").write_text(json.dumps({**results, "protocol": "image"}))
    outcome = robustcmr("compare", runs, copy)
    assert (outcome.code, outcome.out) == (2, "")
    assert (
        f"they differ in the protocol (caption in {runs / 'hinge-0'} and 3 more; image in {copy})"
        in outcome.err
    )
    outcome = robustcmr("compare", runs, copy, "--mixed", "--format", "markdown")
    assert outcome.code == 0
    assert outcome.out.count("protocol caption") == 2
    assert outcome.out.count("protocol image") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no run folder was given; name some, or add --published DATA"),
        (["EMPTY"], "there is no finished run in "),
        (["EMPTY/typo"], "is not there, expected a run folder"),
        (["RUNS", "--format", "xml"], "--format is 'xml', expected table, csv, markdown, latex or json"),
        (["RUNS", "--split", "val"], "has no measures of the val split"),
        (["RUNS", "--published", "f30"], "did you mean 'f30k'?"),
        (["RUNS", "--against", "dice"], "no run is of the method 'dice'"),
    ],
)
def test_mistakes_are_one_sentence(robustcmr, runs, tmp_path, words, message):
    words = [word.replace("RUNS", str(runs)).replace("EMPTY", str(tmp_path)) for word in words]
    outcome = robustcmr("compare", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_damaged_runs_are_told_and_the_others_compared(robustcmr, runs, tmp_path):
    half = tmp_path / "half"
    half.mkdir()
    (half / "environment.json").write_text("{}")
    outcome = robustcmr("compare", runs, half, "--format", "csv")
    assert outcome.code == 0
    assert f"left out: {half} holds only a part of a run" in outcome.err


def test_a_card_is_printed_or_written(robustcmr, runs, tmp_path):
    outcome = robustcmr("card", runs / "hinge-0")
    assert outcome.code == 0
    assert f"{headline(runs, 'hinge-0'):.1f}" in outcome.out
    file = tmp_path / "README.md"
    written = robustcmr("card", runs / "hinge-0", "-o", file)
    assert (written.out, file.read_text()) == ("", outcome.out)
    outcome = robustcmr("card", runs / "stopped")
    assert outcome.code == 2
    assert "has not finished" in outcome.err
