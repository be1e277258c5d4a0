"""A user's mistake is one clear sentence and exit code 2; nothing is half-written."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from robustcmr.cli.main import run as command_line
from robustcmr.config.resolve import resolve
from robustcmr.jobs.train import train

Invoke = Callable[..., tuple[int, str]]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["robustcmr", *map(str, arguments)])
        code = 0
        try:
            command_line()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, capsys.readouterr().err

    return call


@pytest.fixture
def recipe(tiny_tree: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny_tree))
    return path


@pytest.fixture
def refused(invoke: Invoke, recipe: Path, tmp_path: Path) -> Callable[..., str]:
    """Train with the tiny recipe and some arguments; it must be refused with nothing written."""

    def call(*arguments: object) -> str:
        output = tmp_path / "out"
        code, error = invoke("train", "--config", recipe, "--output", output, *arguments)
        assert code == 2, error
        assert error.startswith("robustcmr: ")
        assert "Traceback" not in error
        assert not output.exists()
        return error.removeprefix("robustcmr: ").strip()

    return call


@pytest.mark.parametrize("ratio", ["1.0", "-0.1", "nan", "inf"])
def test_noise_outside_the_range(ratio: str, refused: Any) -> None:
    error = refused("--noise", ratio)
    assert "noise.ratio" in error
    assert "\n" not in error


def test_all_wrong_names_at_once(refused: Any) -> None:
    error = refused(
        *("--matcher", "omitt", "--method", "hing", "--set", "optim.lrr=1", "--set", "trainin.epochs=2"),
        *("--set", "training.batchsize=3"),
    )
    assert "5 problems" in error
    for wanted in ("'omit'", "'hinge'", "'optim.lr'", "'training'", "'training.batch_size'"):
        assert f"did you mean {wanted}?" in error


def test_unknown_data_set(refused: Any) -> None:
    assert "did you mean 'scenes'?" in refused("--data", "scene")


def test_captions_and_features_that_do_not_fit(refused: Any, data_folder: Path) -> None:
    captions = data_folder / "train_caps.txt"
    captions.write_text("".join(captions.read_text().splitlines(keepends=True)[:-3]))
    error = refused()
    assert "197" in error
    assert "40" in error


def test_truncated_features(refused: Any, data_folder: Path) -> None:
    path = data_folder / "train_ims.npy"
    path.write_bytes(path.read_bytes()[:-100])
    assert "truncated" in refused()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite(value: float, refused: Any, data_folder: Path) -> None:
    features = np.load(data_folder / "train_ims.npy")
    features[7, 1, 3] = value
    features[9, 0, 0] = value
    np.save(data_folder / "train_ims.npy", features)
    error = refused()
    assert "image 7 (1 regions)" in error
    assert "2 of 40 images" in error


def test_empty_caption(refused: Any, data_folder: Path) -> None:
    path = data_folder / "train_caps.txt"
    lines = path.read_text().splitlines()
    lines[11] = "   "
    path.write_text("\n".join(lines) + "\n")
    assert "line 12" in refused()


def test_noise_file_of_the_wrong_length(refused: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "noise.npy", np.arange(150, dtype=np.int64) // 5)
    assert "150" in refused("--noise-file", tmp_path / "noise.npy", "--set", "noise.ratio=0.0")


def test_noise_file_of_other_data(
    refused: Any, tiny_tree: dict[str, Any], tmp_path: Path, make_folder: Any
) -> None:
    other = make_folder(tmp_path / "other", seed=1)
    run = train(resolve({**tiny_tree, "data": {"name": "precomp", "root": str(other)}}), tmp_path / "run")
    assert "fingerprint" in refused("--noise-file", run.noise, "--set", "noise.ratio=0.0")


def test_noise_file_of_another_kind(refused: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", label=np.arange(10))
    assert "label" in refused("--noise-file", tmp_path / "labels.npz", "--set", "noise.ratio=0.0")
    np.save(tmp_path / "floats.npy", np.linspace(0, 1, 200))
    assert "float64" in refused("--noise-file", tmp_path / "floats.npy", "--set", "noise.ratio=0.0")


def test_vocabulary_without_unknown_word(refused: Any, tmp_path: Path) -> None:
    words = ["<pad>", "<start>", "<end>", "a"]
    path = tmp_path / "vocab.json"
    content = {
        "word2idx": {word: i for i, word in enumerate(words)},
        "idx2word": {str(i): word for i, word in enumerate(words)},
        "idx": len(words),
    }
    path.write_text(json.dumps(content))
    assert "<unk>" in refused("--set", f"text.vocabulary={path}")


def test_batch_larger_than_the_data(refused: Any) -> None:
    error = refused("--batch-size", 1000)
    assert "1000" in error
    assert "200" in error


def test_missing_split_to_select_by(refused: Any) -> None:
    assert "train, dev, test" in refused("--set", "evaluation.select=val")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_where_there_is_none(refused: Any) -> None:
    assert "cuda" in refused("--device", "cuda")


def test_half_precision_on_the_cpu(refused: Any) -> None:
    assert "fp16" in refused("--device", "cpu", "--precision", "fp16")


def test_output_that_holds_a_run(invoke: Invoke, recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    begin = ("train", "--config", recipe, "--output", output, "--epochs", 1)
    assert invoke(*begin)[0] == 0
    before = (output / "results.json").read_bytes()
    code, error = invoke(*begin)
    assert code == 2
    assert "--overwrite" in error
    assert "--resume" in error
    assert (output / "results.json").read_bytes() == before
    assert invoke(*begin, "--overwrite", "--seed", 3)[0] == 0
    assert json.loads((output / "results.json").read_text())["seed"] == 3


def test_output_that_is_something_else(invoke: Invoke, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("precious")
    for extra in ((), ("--overwrite",)):
        code, error = invoke("train", "--config", recipe, "--output", tmp_path / "photos", *extra)
        assert code == 2
        assert "holds no run" in error
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "precious"


def test_resume_of_nothing_and_with_other_options(invoke: Invoke, tmp_path: Path) -> None:
    code, error = invoke("train", "--resume", tmp_path / "nowhere")
    assert code == 2
    assert "holds no run" in error
    code, error = invoke("train", "--resume", tmp_path, "--noise", 0.2)
    assert code == 2
    assert "--resume" in error


def test_checkpoint_of_another_architecture(
    invoke: Invoke, tiny_tree: dict[str, Any], tmp_path: Path
) -> None:
    run = train(resolve(tiny_tree), tmp_path / "run")
    run.config.write_text(run.config.read_text().replace("dim: 16", "dim: 24"))
    code, error = invoke("eval", run.path)
    assert code == 2
    assert "another architecture" in error
    assert "16" in error
    assert "24" in error


def test_damaged_checkpoints(invoke: Invoke, tiny_tree: dict[str, Any], tmp_path: Path) -> None:
    run = train(resolve(tiny_tree), tmp_path / "run")
    run.results.unlink()
    state = run.checkpoint("last") / "state.pt"
    state.write_bytes(state.read_bytes()[:50])
    code, error = invoke("train", "--resume", run.path)
    assert code == 2
    assert "cannot read the checkpoint state" in error
    weights = run.checkpoint("best") / "matcher_0.safetensors"
    weights.write_bytes(b"nonsense")
    code, error = invoke("eval", run.path)
    assert code == 2
    assert "cannot read the weights" in error


def test_changed_data_is_noticed_on_resume(
    invoke: Invoke, tiny_tree: dict[str, Any], tmp_path: Path, data_folder: Path, make_folder: Any
) -> None:
    run = train(resolve(tiny_tree), tmp_path / "run")
    run.results.unlink()
    make_folder(data_folder, seed=8)
    code, error = invoke("train", "--resume", run.path)
    assert code == 2
    assert "fingerprint" in error


def test_loss_that_is_no_number(
    invoke: Invoke, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "diverging.py"
    module.write_text(
        "from robustcmr.methods.baseline import Hinge\n"
        "class Diverging(Hinge):\n"
        "    steps = 0\n"
        "    def pair_losses(self, scores, same_image):\n"
        "        Diverging.steps += 1\n"
        "        losses = super().pair_losses(scores, same_image)\n"
        "        return losses * float('nan') if Diverging.steps == 16 else losses\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    output = tmp_path / "run"
    code, error = invoke("train", "--config", recipe, "--output", output, "--method", "diverging:Diverging")
    assert code == 2
    assert "epoch 2, step 4" in error
    saved = json.loads((output / "diverged.json").read_text())
    assert len(saved["pair_ids"]["all"]) == 16
    assert str(saved["pair_ids"]["all"][0]) in error
    assert invoke("eval", output, "--checkpoint", "last")[0] == 0  # the good weights are still there


@pytest.mark.slow
def test_full_disk(recipe: Path, tmp_path: Path) -> None:
    """The kernel itself refuses to let any file grow beyond 16 KiB: checkpoints do not fit."""
    output = tmp_path / "run"
    limit = 16 * 1024
    process = subprocess.run(
        [sys.executable, "-m", "robustcmr", "train", "--config", str(recipe), "--output", str(output)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 2, process.stderr
    assert "cannot write" in process.stderr
    assert "Traceback" not in process.stderr
    assert not [path for path in output.rglob("*") if path.suffix == ".tmp" or path.name.endswith(".new")]
    again = subprocess.run(
        [sys.executable, "-m", "robustcmr", "train", "--resume", str(output)],
        check=False,
        capture_output=True,
    )
    assert again.returncode == 0  # with room again, the run goes on


def test_eval_of_runs_of_different_data(
    invoke: Invoke, tiny_tree: dict[str, Any], tmp_path: Path, make_folder: Any
) -> None:
    first = train(resolve(tiny_tree), tmp_path / "first")
    other = make_folder(tmp_path / "other", seed=1)
    second = train(
        resolve({**tiny_tree, "data": {"name": "precomp", "root": str(other)}}), tmp_path / "second"
    )
    code, error = invoke("eval", first.path, second.path)
    assert code == 2
    assert "different data" in error
    code, error = invoke("eval", first.path, "--split", "testall")
    assert code == 2
    assert "train, dev, test" in error
    code, error = invoke("eval", first.path, "--fold5", "--split", "dev")
    assert code == 2
    assert "12 images" in error
