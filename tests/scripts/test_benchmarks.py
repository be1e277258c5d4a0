"""The benchmarks: each runs at tiny sizes and leaves a CSV with the shared columns; all are documented."""

import csv
import importlib
import os
import runpy
import sys
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
BENCHMARKS, RESULTS = SCRIPTS / "benchmarks", SCRIPTS / "results"
TINY = {
    "score": "--batch 8 --dim 16 --regions 4 --words 6 --repeats 2 --no-memory",
    "transport": "--sizes 16 --batch 2 --epsilons 0.07 --repeats 2 --patience 0.1",
    "evaluation": "--images 16 --dim 16 --regions 4 --words 8 --no-memory",
    "steps": "--pairs 80 --batch 16 --regions 3 --width 8 --dim 16 --turns 1",
    "methods_cost": "--methods l2rm --matchers vse_infty --batch 16 --images 16 --epochs 2 --turns 1",
    "whole_set": "--pairs 500 --width 16 --small 50 --floor-blocks 1",
    "embeddings": "--pairs 2000 --width 16",
    "embed": "--captions 300 --batch-size 64",
    "audit_accuracy": "--made-images 300",
    "audit_labels": "--times 2",
    "suggestions": "--made-images 400",
    "near_duplicates": "--count 2000 --width 16",
    "start": "--repeats 1 --no-first",
    "audit_scale": "--pairs 2000 --width 16 --kills 0",
}


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    """Run a benchmark in this process and return the rows of its CSV."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    common = importlib.import_module("common")
    for speed in ("product_speed", "copy_speed"):  # seconds each to measure
        monkeypatch.setattr(common, speed, lambda *_: 1e10)
    monkeypatch.setenv("GOMP_SPINCOUNT", os.environ.get("GOMP_SPINCOUNT", "20000"))
    threads = torch.get_num_threads()

    def run(name, *words):
        output = tmp_path / f"{name}.csv"
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words, "--output", str(output)])
        try:
            runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
        except SystemExit as stop:
            if stop.code:
                pytest.fail(f"{name}: {stop.code}")
        with output.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    yield run
    torch.set_num_threads(threads)
    sys.modules.pop("common", None)


@pytest.fixture
def common(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("common")
    sys.modules.pop("common", None)


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_run_leaves_its_csv(benchmark, capsys, name):
    rows = benchmark(name, *TINY[name].split())
    found = [row for row in rows if row["what"]]
    assert found
    for row in found:
        assert float(row["ours"]) > 0
        assert row["cpu"]
        assert row["what"] in capsys.readouterr().out or row is not found[0]


def test_every_benchmark_is_tried_here_and_explained():
    programs = {path.stem for path in BENCHMARKS.glob("*.py")} - {"common"}
    assert programs == set(TINY)
    explained = (RESULTS / "README.md").read_text(encoding="utf-8")
    for name in [f"{program}.py" for program in programs] + [path.name for path in RESULTS.glob("*.csv")]:
        assert f"`{name}`" in explained, name


@pytest.mark.parametrize("name", TINY)
def test_the_stored_results_have_the_shared_columns(common, name):
    with (RESULTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert set(common.HEADLINE) <= set(reader.fieldnames)
        assert any(row["what"] for row in reader)


def test_a_headline_says_how_many_times_better(common):
    seconds = common.headline("s", "w", 2.0, 8.0, "slow", floor=common.Floor(1.0, "least"))
    assert (seconds["ratio"], seconds["floor_share"]) == ("4", "0.5")
    most = common.Floor(100.0, "most")
    rate = common.headline("s", "w", 50.0, 10.0, "slow", unit="pairs/s", floor=most, larger_is_better=True)
    assert (rate["ratio"], rate["floor_share"]) == ("5", "0.5")
    alone = common.headline("s", "w", 50.0, None, "nothing")
    assert (alone["ratio"], alone["reference"], alone["floor"], alone["floor_share"]) == ("", "", "", "")
    assert tuple(alone) == common.HEADLINE


def test_the_released_formula_leaves_out_padding(common):
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(3, 4, 5, generator=generator, dtype=torch.double) for _ in range(2))
    weights = torch.full((3, 3), 1 / 3, dtype=torch.double)
    padded = torch.nn.functional.pad(weights, (0, 1))
    options = {"smoothing": 0.5, "iterations": 3}
    found = common.released_scores(left, right, padded, padded, **options)
    expected = common.released_scores(left[:, :3], right[:, :3], weights, weights, **options)
    torch.testing.assert_close(found, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_call_is_measured(common):
    found = common.extra_memory(lambda: torch.ones(2**23).sum(), "cpu")  # 32 MiB
    assert 31 <= found < 64
