"""``robustcmr train``: from flags to a configuration; what training does is tested elsewhere."""

import json
from pathlib import Path

import pytest

from robustcmr.config.flags import FLAGS
from robustcmr.config.resolve import resolve
from robustcmr.config.schema import Settings
from robustcmr.jobs import train as jobs
from robustcmr.runs.folder import RunFolder

RESULTS = {
    **{"data": "scenes", "matcher": "omit", "method": "robust", "track": "pairs", "seed": 0, "n_models": 1},
    **{"splits": {}, "best_epoch": None, "epochs": 1},
}


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the jobs were asked to do, in place of doing it."""
    calls = {}

    def finished():
        run = RunFolder(tmp_path / "run")
        run.start("seed: 0\n", {})
        run.results.write_text(json.dumps(RESULTS))
        return run

    def train(config, output, overwrite, console, warm_start):
        calls.update(
            config=config, output=output, overwrite=overwrite, console=console, warm_start=warm_start
        )
        return finished()

    def resume(path, console, trusted, epochs):
        calls.update(resumed=path, console=console, trusted=trusted, epochs=epochs)
        return finished()

    monkeypatch.setattr(jobs, "train", train)
    monkeypatch.setattr(jobs, "resume", resume)
    monkeypatch.chdir(tmp_path)
    return calls


def test_without_options_the_defaults_go_to_a_new_folder(robustcmr, asked):
    outcome = robustcmr("train", "--json")
    assert (outcome.code, json.loads(outcome.out)) == (0, RESULTS)
    assert asked["config"] == resolve({})
    assert asked["output"] is None
    assert asked["overwrite"] is False
    assert asked["console"].stderr


def test_every_flag_reaches_its_key(robustcmr, asked, tmp_path):
    outcome = robustcmr(
        *("train", "--json", "--noise", "0.4", "--noise-protocol", "image", "--noise-seed", "5"),
        *("--data", "precomp", "--data-root", "data", "--matcher", "omit", "--method", "infonce"),
        *("--seed", "3", "--epochs", "2", "--batch-size", "16", "--device", "cpu", "--precision", "bf16"),
        *("--set", "optim.lr=1e-4", "--set", "matcher.dim=64", "--output", "here", "--overwrite"),
    )
    assert outcome.code == 0, outcome.err
    assert asked["config"] == resolve(
        {
            "seed": 3,
            "data": {"name": "precomp", "root": tmp_path / "data"},
            "noise": {"ratio": 0.4, "protocol": "image", "seed": 5},
            "matcher": {"name": "omit", "dim": 64},
            "method": "infonce",
            "optim": {"lr": 1e-4},
            "training": {"epochs": 2, "batch_size": 16, "device": "cpu", "precision": "bf16"},
        }
    )
    assert (asked["output"], asked["overwrite"]) == (Path("here"), True)


def test_flags_of_the_labels_track(robustcmr, asked):
    outcome = robustcmr(
        *("train", "--json", "--data", "scenes-labels", "--method", "mrl", "--noise", "0.4"),
        *("--noise-kind", "instance", "--noise-protocol", "per_modality"),
    )
    assert outcome.code == 0, outcome.err
    assert asked["config"] == resolve(
        {
            "data": "scenes-labels",
            "method": "mrl",
            "noise": {"ratio": 0.4, "kind": "instance", "protocol": "per_modality"},
        }
    )
    assert asked["config"].matcher.name == "two_tower"


def test_the_kind_of_noise_is_a_flag_of_pairs_too(robustcmr, asked):
    assert robustcmr("train", "--json", "--noise-kind", "mismatch").code == 0
    assert asked["config"] == resolve({})


def test_help_tells_what_each_track_takes(robustcmr, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = " ".join(robustcmr("train", "--help").out.split())
    assert (
        "mismatch|symmetric|asymmetric|instance Kind of noise; mismatch: captions go to other images" in shown
    )
    assert "caption|image|shared|per_modality Unit of noise; caption: single captions move" in shown
    assert "--noise FLOAT Share of the pairs to mismatch, or of the labels to make wrong." in shown
    assert "--epochs INTEGER" in shown
    assert "--data-root PATH" in shown
    assert "robustcmr train --noise 0.4" in shown  # an example


def test_flags_have_the_names_and_texts_of_the_schema(robustcmr, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    shown = " ".join(robustcmr("train", "--help").out.split())
    for flag, key in FLAGS.items():
        assert f"--{flag.replace('_', '-')} " in shown
        section, _, name = key.rpartition(".")
        if section in ("data", "matcher", "method"):
            continue
        model = Settings.model_fields[section].annotation if section else Settings
        text = model.model_fields[name].description
        assert f"{text[0].upper()}{text[1:]}." in shown


def test_a_zero_flag_is_given_all_the_same(robustcmr, asked, tmp_path):
    """``--noise 0`` and ``--seed 0`` win over a recipe, though they are false in Python's eyes."""
    (tmp_path / "own.yaml").write_text("seed: 4\nnoise: {ratio: 0.4, seed: 7}\ntraining: {epochs: 3}\n")
    robustcmr("train", "--json", "--config", "own.yaml", "--noise", "0", "--seed", "0", "--noise-seed", "0")
    settings = asked["config"].settings
    assert (settings.seed, settings.noise.ratio, settings.noise.seed) == (0, 0.0, 0)
    assert settings.training.epochs == 3


def test_a_noise_file_and_a_ratio_exclude_each_other(robustcmr, asked):
    assert robustcmr("train", "--json", "--noise-file", "n.npy").code == 0
    assert asked["config"].settings.noise.file == Path.cwd() / "n.npy"
    outcome = robustcmr("train", "--noise-file", "n.npy", "--noise", "0.2")
    assert outcome.code == 2
    assert "noise.ratio: a noise file decides the noise" in outcome.err


def test_resuming(robustcmr, asked):
    outcome = robustcmr("train", "--resume", "runs/old", "--json")
    assert (outcome.code, json.loads(outcome.out)) == (0, RESULTS)
    assert (asked["resumed"], asked["epochs"]) == (Path("runs/old"), None)
    assert "config" not in asked


def test_extending(robustcmr, asked):
    assert robustcmr("train", "--resume", "runs/old", "--epochs", "31", "--json").code == 0
    assert (asked["resumed"], asked["epochs"]) == (Path("runs/old"), 31)


def test_starting_from_another_run(robustcmr, asked):
    assert robustcmr("train", "--from", "runs/old", "--noise", "0.2", "--json").code == 0
    assert asked["warm_start"] == Path("runs/old")
    assert asked["config"].settings.noise.ratio == 0.2


@pytest.mark.parametrize(
    "extra",
    [
        ["--noise", "0"],
        ["--noise-kind", "mismatch"],
        ["--seed", "0"],
        ["--config", "x"],
        ["--set", "a=1"],
        ["--output", "x"],
        ["--overwrite"],
        ["--from", "runs/other"],
    ],
)
def test_resuming_takes_no_other_option(robustcmr, asked, extra):
    outcome = robustcmr("train", "--resume", "runs/old", *extra)
    assert outcome.code == 2
    assert "--resume continues a run as it was configured and takes no other options" in outcome.err
    assert asked == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "0"], "training.epochs: got 0, expected a whole number of at least 1"),
        (["--batch-size", "1"], "training.batch_size: got 1, expected a whole number of at least 2"),
        (["--precision", "fp8"], "training.precision: got 'fp8', expected fp32, bf16 or fp16"),
        (["--device", "gpu"], "training.device: unknown device 'gpu', expected auto, cpu"),
        (["--seed", "-1"], "seed: got -1, expected a whole number in [0, 4294967296)"),
        (["--noise-protocol", "images"], "noise.protocol: got 'images', expected caption, image, shared or"),
        (
            ["--noise-kind", "symmetric"],
            "noise.kind: got 'symmetric', and the data set 'scenes' is of the pairs",
        ),
        (
            ["--data", "scenes-labels", "--method", "hinge"],
            "method.name: method 'hinge' is for the pairs track",
        ),
        (["--method", "hing"], "method.name: unknown method 'hing'; did you mean 'hinge'?"),
        (["--data", "f30k"], "data.root: missing, set it with --set data.root=/path/to/it"),
        (["--noise", "40"], "noise.ratio: got 40.0, expected a number in [0, 1); did you mean 0.4?"),
        (["--noise", "40%"], "noise.ratio: got '40%', expected a number in [0, 1); did you mean 0.4?"),
        (["--noise", "1.5"], "noise.ratio: got 1.5, expected a number in [0, 1)\n"),
        (["--noise", "half"], "noise.ratio: got 'half', expected a number in [0, 1)\n"),
        (["--set", "noise.ratio=true"], "noise.ratio: got True, expected a number in [0, 1)\n"),
        (
            ["--set", "augmentation.corrupt_words=20"],
            "augmentation.corrupt_words: got 20, expected a number in",
        ),
        (["--set", "lr=1e-4"], "lr: unknown key; did you mean 'optim.lr'?"),
        (["--set", "method.lr=1e-4"], "method.lr: unknown key; did you mean 'optim.lr'?"),
        (["--set", "epoch=3"], "epoch: unknown key; did you mean 'training.epochs'?"),
        (["--set", "dim=64"], "dim: unknown key; did you mean 'matcher.dim'?"),
        (
            ["--set", "batch_size=9"],
            "batch_size: unknown key; did you mean 'training.batch_size' or 'evaluation.batch_size'?",
        ),
        (["--set", "optim.lr"], "cannot read the override 'optim.lr', expected KEY=VALUE"),
        (["--config", "nothing_here"], "no configuration file nothing_here and no shipped recipe"),
        (["--matcher", "no.such.module:X"], "matcher.name: matcher 'no.such.module:X' cannot be loaded"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_started(robustcmr, asked, words, message):
    outcome = robustcmr("train", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"robustcmr: {message}")
    assert len(outcome.err.splitlines()) == 1
    assert asked == {}
