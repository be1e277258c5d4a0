"""Whole runs on labelled data: what they leave behind, and that it is true."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from noise_injection import index_sha256, load_label_noise
from robustcmr.cli.main import run as command_line
from robustcmr.config.resolve import resolve
from robustcmr.errors import PluginError
from robustcmr.jobs.evaluate import evaluate
from robustcmr.jobs.train import planned_folder, resume, train
from robustcmr.methods.label_baselines import LabelCrossEntropy
from robustcmr.reporting import run_charts
from robustcmr.runs.folder import RunFolder
from robustcmr.training.checkpoint import load_state
from robustcmr.training.interrupt import TrainingStopped
from robustcmr.training.loop import Trainer
from robustcmr.types import Division

Call = Callable[..., tuple[int, str, str]]
LABEL_CE = {"name": "label_ce", "temperature": 0.2}
UOT_RCL = {"name": "uot_rcl", "warmup_epochs": 1}  # corrects from the second epoch on
MEASURES = {"given_accuracy", "corrected_accuracy", "changed", "repaired", "broken", "auroc"}


@pytest.fixture
def labelled(labelled_folder: Path) -> dict[str, Any]:
    """A configuration of labelled data that trains in less than a second."""
    return {
        "data": {"name": "labelled", "root": str(labelled_folder)},
        "matcher": {"name": "two_tower", "dim": 8, "hidden": [12]},
        "method": LABEL_CE,
        "noise": {"ratio": 0.4},
        "training": {"epochs": 3, "batch_size": 16, "device": "cpu"},
        "optim": {"lr": 0.01},
    }


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command in this process: exit code, stdout and stderr."""

    def invoke(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["robustcmr", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "120")
        capsys.readouterr()
        code = 0
        try:
            command_line()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return invoke


def refusal(err: str) -> str:
    """The one sentence behind the notes on what was loaded."""
    *notes, last = err.splitlines()
    assert all(note.startswith(("loaded ", "drawing ", "left out of the recipe")) for note in notes), err
    return last


def saved(path: Path, tree: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(tree))
    return path


def read_table(run: RunFolder) -> list[dict[str, str]]:
    with run.labels.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("method", [LABEL_CE, "mrl", UOT_RCL], ids=["label_ce", "mrl", "uot_rcl"])
def test_run_folder_is_complete_and_true(
    method: Any, labelled: dict[str, Any], labelled_folder: Path, tmp_path: Path, call: Call
) -> None:
    run = RunFolder(tmp_path / "run")
    recipe = saved(tmp_path / "recipe.yaml", {**labelled, "method": method})
    code, out, err = call("train", "--config", recipe, "--output", run.path, "--seed", 3, "--verbose")
    assert code == 0, err
    results = run.read_results()
    assert results is not None
    with np.load(labelled_folder / "train.npz") as file:
        truth = file["label"].astype(np.int64)
    given, record = load_label_noise(run.noise, truth, 4, results["data_fingerprint"])
    assert results["noise_hash"] == index_sha256(given)
    assert results["noise_ratio_realised"] == (given[:, 0] != truth).mean() == 0.4
    assert (results["track"], results["noise_kind"], results["protocol"]) == ("labels", "symmetric", "shared")
    assert (results["n_classes"], results["training_pairs"], results["seed"]) == (4, 60, 3)
    assert record.seed == 3

    rows = run.read_metrics()
    best = max(rows, key=lambda row: float(row["dev"]["map"]))
    assert results["best_epoch"] == best["epoch"]
    assert results["splits"]["dev"] == best["dev"]  # measured again from the saved best weights
    assert {"map", "map_i2t", "map_t2i_at_50", "precision_i2t"} <= results["splits"]["test"].keys()

    table = read_table(run)
    assert [int(row["pair"]) for row in table] == list(range(60))
    assert [int(row["given"]) for row in table] == given[:, 0].tolist()
    corrected = np.array([int(row["corrected"]) for row in table])
    told = results["findings"]
    assert told["changed"] == (corrected != given[:, 0]).mean()
    assert told["correction"]["corrected_accuracy"] == (corrected == truth).mean()
    assert told["correction"]["given_accuracy"] == pytest.approx(0.6)
    assert told["correction"].keys() >= MEASURES
    pictures = {path.name for path in run.plots.iterdir()}
    expected = {"loss.png", "dev_map.png", "confusion.png", "precision_scope.png"}
    assert pictures == expected | (
        {"correction.png"} if sum("correction" in row for row in rows) > 1 else set()
    )
    if method is UOT_RCL:
        assert ["correction" in row for row in rows] == [False, True, True]
        assert np.sum(rows[-1]["confusion"]["given_to_truth"]) == 60
    for name in pictures:
        assert Image.open(run.plots / name).width > 300

    assert "mAP" in out
    assert "@50" in out
    assert f"{results['splits']['test']['map']:.1f}" in out
    assert f"{100 * told['correction']['auroc']:.1f}" in out
    noise = f"symmetric, shared by image and text, noise {results['noise_hash'][:12]}"
    assert f"40.0% of the 60 training labels are wrong (40.0% requested, {noise})" in out
    assert f"All classes are in {run.labels}." in out
    assert "epoch 3/3" in err


def test_learning_happens_and_wrong_labels_are_found(
    labelled: dict[str, Any], make_labelled_folder: Any, tmp_path: Path
) -> None:
    """The classes lie apart: a few epochs are enough to beat chance by far and to repair most labels."""
    folder = make_labelled_folder(tmp_path / "more", {"train": 240, "dev": 40, "test": 60})
    training = {**labelled["training"], "epochs": 8}
    tree = {**labelled, "data": {"name": "labelled", "root": str(folder)}, "training": training}
    results = train(resolve(tree), tmp_path / "run").read_results()
    assert results is not None
    assert results["splits"]["test"]["map"] > 50  # chance is about 25
    correction = results["findings"]["correction"]
    assert correction["corrected_accuracy"] > 0.8 > correction["given_accuracy"]
    assert correction["auroc"] > 0.85


@pytest.mark.parametrize("method", [LABEL_CE, UOT_RCL], ids=["label_ce", "uot_rcl"])
@pytest.mark.parametrize("stop_at", [1, 5], ids=["first epoch", "second epoch"])
def test_stopped_and_resumed_equals_never_stopped(
    stop_at: int, method: Any, labelled: dict[str, Any], tmp_path: Path, comparable_run: Any, monkeypatch: Any
) -> None:
    tree = {**labelled, "method": method, "augmentation": {"feature_noise": 0.1}}
    whole = train(resolve(tree), tmp_path / "whole")
    original = Trainer._take_step

    def step_then_signal(self: Trainer, batches: Any) -> Any:
        result = original(self, batches)
        if self.state.global_step == stop_at - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    out = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_take_step", step_then_signal)
        with pytest.raises(TrainingStopped):
            train(resolve(tree), out)
    assert load_state(out / "checkpoints" / "last")["training"]["global_step"] == stop_at
    torch.manual_seed(99)
    resumed = resume(out)
    assert comparable_run(out) == comparable_run(whole.path)
    assert resumed.labels.read_bytes() == whole.labels.read_bytes()


def test_eval_repeats_the_run_and_names_ensembles(
    labelled: dict[str, Any], tmp_path: Path, call: Call
) -> None:
    a = train(resolve({**labelled, "noise": {"ratio": 0.2}}), tmp_path / "a").path
    b = train(resolve({**labelled, "seed": 2}), tmp_path / "b").path
    results = RunFolder(a).read_results()
    assert results is not None
    alone = json.loads(call("eval", a, "--json")[1])
    assert alone["metrics"] == results["splits"]["test"]
    assert (alone["track"], alone["n_models"]) == ("labels", 1)
    both = json.loads(call("eval", a, b, "--split", "dev", "--json")[1])
    assert both["n_models"] == 2
    assert both["by_model"][0] == evaluate([a], "dev")["metrics"]
    assert both["metrics"] != both["by_model"][0]
    code, out, _ = call("eval", a, b)
    assert code == 0
    assert "ENSEMBLE of 2 models" in out
    assert "mAP" in out
    code, _, err = call("eval", a, "--fold5")
    assert (code, "leave --fold5 out" in refusal(err)) == (2, True)


def test_runs_of_other_data_or_tracks_do_not_mix(
    labelled: dict[str, Any], tiny_tree: dict[str, Any], make_labelled_folder: Any, tmp_path: Path, call: Call
) -> None:
    one_epoch = {"training": {**labelled["training"], "epochs": 1}}
    folder = make_labelled_folder(tmp_path / "other", seed=1)
    a = train(resolve({**labelled, **one_epoch}), tmp_path / "a").path
    b = train(
        resolve({**labelled, **one_epoch, "data": {"name": "labelled", "root": str(folder)}}), tmp_path / "b"
    )
    c = train(resolve({**tiny_tree, **one_epoch}), tmp_path / "c")
    for other, sentence in ((b, "of different data"), (c, "of different tracks, labels and pairs")):
        code, _, err = call("eval", a, other.path)
        assert (code, sentence in refusal(err)) == (2, True), err


def test_labels_by_modality(
    labelled: dict[str, Any], labelled_folder: Path, tmp_path: Path, call: Call
) -> None:
    noise = {"ratio": 0.4, "protocol": "per_modality", "kind": "instance"}
    run = train(resolve({**labelled, "noise": noise}), tmp_path / "run")
    results = run.read_results()
    assert results is not None
    assert (results["protocol"], results["noise_kind"]) == ("per_modality", "instance")
    table = read_table(run)
    with np.load(run.noise, allow_pickle=False) as file:
        given = next(file[key] for key in file.files if file[key].shape == (60, 2))
    assert [[int(row["given"]), int(row["given_text"])] for row in table] == given.tolist()
    assert {"given_accuracy_image", "given_accuracy_text"} <= results["findings"]["correction"].keys()
    code, out, err = call("suspects", run.path, "--top", 3)
    assert code == 0, err
    changed = sum(row["decision"] == "changed" for row in table)
    assert f"{changed} of 60 pairs ({changed / 60:.1%}) probably have a wrong class" in out


def test_captions_are_read_where_they_are_known(tmp_path: Path, call: Call, comparable_run: Any) -> None:
    tree: dict[str, Any] = {
        "data": {"name": "scenes-labels", "n_train": 45, "n_dev": 18, "n_test": 18},
        "matcher": {"name": "vse_infty", "dim": 8, "word_dim": 8},
        "method": "mrl",
        "noise": {"ratio": 0.4},
        "training": {"epochs": 2, "batch_size": 15, "device": "cpu"},
    }
    run = train(resolve(tree), tmp_path / "run")
    words = json.loads(run.vocabulary.read_text())
    assert len(words["word2idx"]) > 20
    captions = [row["caption"] for row in read_table(run)]
    assert len(captions) == 45
    assert all(len(caption.split()) > 5 for caption in captions)
    found = json.loads(call("eval", run.path, "--json")[1])
    assert found["metrics"] == (run.read_results() or {})["splits"]["test"]
    shown = json.loads(call("suspects", run.path, "--top", "4", "--json")[1])
    assert len(shown["suspects"]) == min(4, shown["suspected"]) > 0
    assert shown["suspects"][0]["caption"] in captions
    evidence = [row["evidence"] for row in shown["suspects"]]
    assert evidence == sorted(evidence, reverse=True)
    with Image.open(run.suspects) as sheet:
        assert sheet.width > 300


def test_nothing_is_judged_where_the_truth_is_not_known(
    labelled: dict[str, Any], tmp_path: Path, call: Call
) -> None:
    trusted = train(resolve(labelled), tmp_path / "trusted")
    run = train(resolve({**labelled, "data": {**labelled["data"], "trusted": False}}), tmp_path / "unknown")
    assert run.labels.read_bytes() == trusted.labels.read_bytes()  # beliefs are the same
    assert "correction" not in (run.read_results() or {})["findings"]
    assert not (run.plots / "confusion.png").exists()
    assert (trusted.plots / "confusion.png").exists()


def test_the_picture_of_confusions_has_a_row_a_true_class(
    labelled: dict[str, Any], labelled_folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    drawn: list[Any] = []
    draw = run_charts.confusion_chart
    monkeypatch.setattr(run_charts, "confusion_chart", lambda *given: drawn.append(given) or draw(*given))
    noise = {"ratio": 0.4, "kind": "asymmetric"}  # so that rows and columns differ
    run = train(resolve({**labelled, "noise": noise}), tmp_path / "run")
    ((before, after, names),) = drawn
    with np.load(labelled_folder / "train.npz") as file:
        truth = file["label"]
    table = read_table(run)
    for counts, column in ((before, "given"), (after, "corrected")):
        expected = np.zeros((4, 4), dtype=np.int64)
        for true, row in zip(truth, table, strict=True):
            expected[true, int(row[column])] += 1
        np.testing.assert_array_equal(counts, expected)
    assert not np.array_equal(before, before.T)
    assert [row["given_name"] for row in table] == [names[int(row["given"])] for row in table]
    assert (run.plots / "confusion.png").is_file()


def test_a_belief_of_another_track_is_refused(
    labelled: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    division = Division(np.ones(60), 0.5, np.ones(60, bool), np.zeros(60), False, "", None, None)
    monkeypatch.setattr(LabelCrossEntropy, "estimate", lambda self, scorer: division)
    with pytest.raises(
        PluginError,
        match="LabelCrossEntropy estimated a Division on the labels track; return a LabelEstimate",
    ):
        train(resolve(labelled), tmp_path / "run")


def test_default_folder_says_what_the_run_is(
    labelled: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = planned_folder(resolve(labelled), None)
    assert folder == Path("runs/labelled-two_tower-label_ce-noise0.4-symmetric-shared-seed0")
    noise = {"ratio": 0.2, "kind": "asymmetric", "protocol": "per_modality"}
    name = planned_folder(resolve({**labelled, "noise": noise}), None).name
    assert name == "labelled-two_tower-label_ce-noise0.2-asymmetric-per_modality-seed0"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--matcher", "omit"], "--matcher two_tower or --matcher embeddings"),
        (["--matcher", "vse_infty", "--set", "matcher.dim=8"], "has only their vectors"),
        (["--set", "evaluation.select=val"], "evaluation.select is 'val'"),
        (["--batch-size", "61"], "only 60 training pairs"),
        (["--set", "noise.kind=asymmetric", "--set", "noise.class_map=[1]"], "class"),
        (["--set", "text.vocabulary=x.json"], "no captions"),
    ],
    ids=["omit", "words", "select", "batch", "map", "vocabulary"],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    change: list[str], sentence: str, labelled: dict[str, Any], tmp_path: Path, call: Call
) -> None:
    recipe, out = saved(tmp_path / "recipe.yaml", labelled), tmp_path / "out"
    code, _, err = call("train", "--config", recipe, "--output", out, *change)
    assert code == 2
    assert refusal(err).startswith("robustcmr: ")
    assert sentence in refusal(err)
    assert not out.exists()
