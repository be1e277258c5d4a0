"""Whole runs through the command line: what they leave behind, and that it is true."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import robustcmr
from noise_injection import index_sha256
from robustcmr.config.resolve import read_config, resolve
from robustcmr.jobs.evaluate import evaluate
from robustcmr.jobs.train import planned_folder, resume, train

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: object, cwd: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "robustcmr", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=cwd,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def recipe(tiny_tree: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny_tree))
    return path


def test_run_folder_is_complete_and_true(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = command("train", "--config", recipe, "--output", out, "--seed", 3)
    results = json.loads((out / "results.json").read_text())
    with np.load(out / "noise.npz", allow_pickle=False) as noise:
        index = next(
            noise[key] for key in noise.files if noise[key].dtype == np.int64 and noise[key].ndim == 1
        )
    wrong = float((index != np.arange(200) // 5).mean())
    assert results["noise_hash"] == index_sha256(index)
    assert results["noise_ratio"] == 0.4
    assert results["noise_ratio_realised"] == wrong > 0.3
    assert results["protocol"] == "caption"
    assert (results["seed"], results["n_models"], results["selection_split"]) == (3, 1, "dev")
    assert results["robustcmr_version"] == robustcmr.__version__
    assert results["peak_memory_bytes"]["cpu"] > 10 * 2**20
    assert results["seconds"] > 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(row["steps"] == 12 and row["pairs_seen"] == 192 for row in rows)
    best = max(rows, key=lambda row: row["dev"]["rsum"])
    assert results["best_epoch"] == best["epoch"]
    assert results["splits"]["dev"] == best["dev"]  # measured again from the saved best weights
    for split, measures in results["splits"].items():  # the six recalls out of every query's rank
        with np.load(out / f"queries-{split}.npz", allow_pickle=False) as queries:
            recalls = [
                100 * (queries[f"{way}_rank"] <= k).mean() for way in ("i2t", "t2i") for k in (1, 5, 10)
            ]
        assert sum(recalls) == pytest.approx(measures["rsum"])
    assert resolve(read_config(out / "config.yaml")).settings.seed == 3
    for plot in ("loss.png", "dev_recall.png"):
        assert Image.open(out / "plots" / plot).width > 300
    for name in ("environment.json", "vocabulary.json", "log.txt", "checkpoints/last", "checkpoints/best"):
        assert (out / name).exists()
    assert "epoch 3/3" in (out / "log.txt").read_text()
    assert "rSum" in done.stdout
    assert f"{results['splits']['test']['rsum']:.1f}" in done.stdout
    assert "epoch 3/3" in done.stderr
    assert "epoch" not in done.stdout.split("epoch", 1)[0]
    leftovers = [path for path in out.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]
    assert leftovers == []


@pytest.mark.slow
def test_eval_repeats_the_run_and_names_ensembles(recipe: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    command("train", "--config", recipe, "--output", a, "--seed", 1)
    command("train", "--config", recipe, "--output", b, "--seed", 2)
    results = json.loads((a / "results.json").read_text())
    alone = json.loads(command("eval", a, "--json").stdout)
    assert alone["metrics"] == results["splits"]["test"]
    assert alone["n_models"] == 1
    both = json.loads(command("eval", a, b, "--json").stdout)
    assert both["n_models"] == 2
    assert both["by_model"][0]["rsum"] == pytest.approx(alone["metrics"]["rsum"])
    assert both["metrics"] != alone["metrics"]
    assert "ENSEMBLE of 2 models" in command("eval", a, b).stdout
    assert "one model" in command("eval", a, "--checkpoint", "last").stdout
    folds = json.loads(command("eval", a, "--fold5", "--json").stdout)
    assert folds["folds"] == 5
    assert len(folds["by_fold"]) == 5


def test_learning_happens(tiny_tree: dict[str, Any], tmp_path: Path) -> None:
    """The captions name the regions' prototypes: three epochs are enough to beat chance by far."""
    tree = {**tiny_tree, "noise": {"ratio": 0.0}, "training": {**tiny_tree["training"], "epochs": 12}}
    run = train(resolve({**tree, "method": "infonce"}), tmp_path / "run")
    measured = run.read_results()["splits"]["test"]  # type: ignore[index]
    assert measured["t2i_r1"] > 30  # chance is 10


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"workers": 1}], ids=["bf16", "workers"])
def test_other_ways_to_train(changes: dict[str, Any], tiny_tree: dict[str, Any], tmp_path: Path) -> None:
    tree = {**tiny_tree, "training": {**tiny_tree["training"], "epochs": 2, **changes}}
    plain = train(
        resolve({**tiny_tree, "training": {**tiny_tree["training"], "epochs": 2}}), tmp_path / "plain"
    )
    other = train(resolve(tree), tmp_path / "other")
    losses = [[row["loss"] for row in run.read_metrics()] for run in (plain, other)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_data_without_test_split(tiny_tree: dict[str, Any], tmp_path: Path, data_folder: Path) -> None:
    for path in data_folder.glob("test_*"):
        path.unlink()
    run = train(resolve(tiny_tree), tmp_path / "run")
    assert list(run.read_results()["splits"]) == ["dev"]  # type: ignore[index]
    assert "no test split" in run.log.read_text()


def test_published_index_file_and_image_protocol(tiny_tree: dict[str, Any], tmp_path: Path) -> None:
    permutation = np.random.default_rng(0).permutation(40).astype(np.int64)
    np.save(tmp_path / "permutation.npy", permutation)
    tree = {**tiny_tree, "noise": {"file": str(tmp_path / "permutation.npy")}}
    results = train(resolve(tree), tmp_path / "run").read_results()
    assert results is not None
    assert results["protocol"] == "image"
    assert results["noise_ratio"] is None
    assert results["noise_ratio_realised"] == float((permutation != np.arange(40)).mean())


@pytest.mark.slow
def test_paths_in_a_saved_run_work_from_another_folder(
    recipe: Path, tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    begin = ("train", "--config", recipe, "--data-root", data_folder.name, "--epochs", 1, "--output", "run")
    command(*begin, cwd=data_folder.parent)
    command("eval", data_folder.parent / "run", cwd=elsewhere)


def test_default_folder_says_what_the_run_is(
    tiny_tree: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    config = resolve(tiny_tree)
    assert planned_folder(config, None) == Path("runs/precomp-omit-hinge-noise0.4-caption-seed0")
    (tmp_path / "runs" / "precomp-omit-hinge-noise0.4-caption-seed0").mkdir(parents=True)
    assert planned_folder(config, None).name.endswith("seed0-2")


def test_python_interface(tiny_tree: dict[str, Any], tmp_path: Path) -> None:
    run = train(resolve(tiny_tree), tmp_path / "run")
    assert resume(run.path).read_results() == run.read_results()
    assert evaluate([run.path], "dev")["metrics"] == run.read_results()["splits"]["dev"]  # type: ignore[index]


def test_best_checkpoint_is_the_best_epochs(
    tiny_tree: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    """With scores made to peak at the first epoch, the first epoch's weights must be kept."""
    from robustcmr.tracks.pairs import PairsTrack

    seen: list[float] = []

    def falling(self: PairsTrack, measured: dict[str, Any]) -> float:
        seen.append(measured["rsum"])
        return -float(len(seen))

    monkeypatch.setattr(PairsTrack, "selection_score", falling)
    run = train(resolve(tiny_tree), tmp_path / "run")
    results = run.read_results()
    assert results is not None
    assert results["best_epoch"] == 1
    assert results["splits"]["dev"]["rsum"] == seen[0]


@pytest.mark.slow
def test_built_wheel_trains_from_another_folder(tmp_path: Path) -> None:
    """The wheel alone, without the checkout: recipes, entry points and both packages are inside."""
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        names = set(archive.namelist())
    assert {"robustcmr/py.typed", "noise_injection/py.typed", "robustcmr/configs/scenes_omit.yaml"} <= names
    assert {"robustcmr/configs/sweeps/noise_rates.yaml", "robustcmr/reporting/published.csv"} <= names
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]
    code = (
        f"import sys; sys.path[:] = [{str(site)!r}] + [p for p in sys.path if p != {str(ROOT)!r}]\n"
        "import robustcmr\n"
        f"assert robustcmr.__file__.startswith({str(site)!r})\n"
        "from robustcmr.cli.main import run\nrun()\n"
    )
    small = ["--set", "data.n_train=60", "--set", "data.n_dev=20", "--set", "data.n_test=20", "--epochs", "1"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "train", "--config", "scenes_omit", "--noise", "0.4", *small],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert "rSum" in done.stdout
    assert (tmp_path / "runs" / "scenes-omit-robust-noise0.4-caption-seed0" / "results.json").is_file()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_gpu(precision: str, tiny_tree: dict[str, Any], tmp_path: Path) -> None:
    tree = {**tiny_tree, "training": {**tiny_tree["training"], "device": "cuda", "precision": precision}}
    run = train(resolve(tree), tmp_path / "run")
    results = run.read_results()
    assert results is not None
    assert results["device"].startswith("cuda")
    assert results["peak_memory_bytes"]["gpu"] > 0
