"""The whole job: a run folder that can be measured, and nothing written where something does not fit."""

import hashlib
import json
import os
import shutil
import signal

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from robustcmr.config.resolve import read_config, resolve
from robustcmr.conversion.method import TrainedElsewhere
from robustcmr.conversion.released import convert
from robustcmr.data.vocabulary import SPECIAL_WORDS, Vocabulary
from robustcmr.errors import CheckpointError, ConfigError, DataError, InUseError, RunFolderError, UserError
from robustcmr.jobs.evaluate import evaluate
from robustcmr.jobs.train import resume
from robustcmr.runs.folder import RunFolder
from robustcmr.training.checkpoint import load_state

WORDS = [*SPECIAL_WORDS, "a", "picture", "of", "and", *(f"thing{i}" for i in range(12))]


@pytest.fixture
def at_hand(tmp_path, make_folder, released):
    """What a user of released files has: data, vocabulary and checkpoint, as arguments of the job."""
    root = make_folder(tmp_path / "data", {"train": 10, "dev": 6, "test": 12}, regions=4, width=6)
    Vocabulary(WORDS).save(tmp_path / "vocab.json")
    file = released.file(tmp_path / "model_best.pth.tar", released.sgraf("SGR", words=len(WORDS)))
    return {
        "file": file,
        "layout": "sgraf",
        "data": {"name": "precomp", "root": str(root)},
        "vocabulary": tmp_path / "vocab.json",
        "output": tmp_path / "run",
    }


def test_the_run_folder(at_hand):
    report = convert(**at_hand)
    run = RunFolder(at_hand["output"])
    assert sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()) == [
        "checkpoints/best/matcher_0.safetensors",
        "checkpoints/best/state.pt",
        "config.yaml",
        "environment.json",
        "inputs.json",
        "vocabulary.json",
    ]
    assert Vocabulary.load(run.vocabulary) == Vocabulary(WORDS)
    config = resolve(read_config(run.config))
    assert (config.matcher.name, config.matcher.options.steps) == ("sgr", 3)
    assert config.matcher.options.region_norm == "position"
    digest = hashlib.sha256(at_hand["file"].read_bytes()).hexdigest()
    said = json.loads(run.environment.read_text())["converted_from"]
    assert said == {
        "file": str(at_hand["file"]),
        "sha256": digest,
        "layout": "sgraf",
        "network": None,
        "claims": {
            "epoch": 11,
            "best_rsum": 490.3,
            "Eiters": 9000,
            "data_name": "f30k_precomp",
            "module_name": "SGR",
        },
    }
    assert load_state(run.checkpoint("best")) == {"best": None, "converted_from": said}
    header = run.config.read_text().splitlines()[:3]
    assert all(line.startswith("# ") for line in header)
    assert digest in header[1]
    weights = safetensors.torch.load_file(run.checkpoint("best") / "matcher_0.safetensors")
    assert set(report.renamed.values()) == set(weights)
    assert (report.matcher, report.without_place, report.known_words) == ("sgr", [], 1.0)
    assert list(report.folded) == ["sim_enc.v_global_w.embedding_global.0.bias"]
    assert len(report.without_effect) == 5
    assert json.loads(json.dumps(report.to_dict()))["sizes"]["n_regions"] == 4


def test_one_process_converts(at_hand):
    with RunFolder(at_hand["output"]).locked(), pytest.raises(InUseError, match="is in use by process"):
        convert(**at_hand)
    assert not at_hand["output"].exists()


def test_a_killed_conversion_is_begun_again(at_hand, tmp_path):
    """Without --overwrite: a half conversion is no run yet."""
    whole = convert(**{**at_hand, "output": tmp_path / "whole"})
    real, files = os.replace, []
    for kill_at in range(6):
        if (child := os.fork()) == 0:

            def replace(source, target):
                files.append(target)
                if len(files) > kill_at:  # noqa: B023  # called before it changes
                    os.kill(os.getpid(), signal.SIGKILL)
                real(source, target)

            os.replace = replace
            convert(**at_hand)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert convert(**at_hand).renamed == whole.renamed
        names = {path.relative_to(at_hand["output"]) for path in at_hand["output"].rglob("*")}
        assert names == {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*")}
        shutil.rmtree(at_hand["output"])


@pytest.mark.parametrize("name", ["A", "B"])
def test_one_of_two_networks(at_hand, released, name):
    both = {"model_A": released.sgraf("SAF", words=20), "model_B": released.sgraf("SAF", words=20, seed=1)}
    torch.save(both, at_hand["file"])
    assert convert(**at_hand, network=name).network == name
    weights = safetensors.torch.load_file(at_hand["output"] / "checkpoints/best/matcher_0.safetensors")
    assert torch.equal(weights["regions.linear.weight"], both[f"model_{name}"][0]["fc.weight"])
    assert f"network {name})" in (at_hand["output"] / "config.yaml").read_text().splitlines()[0]


def test_keys_without_a_place(at_hand, released):
    image, text, sim = released.sgraf("SGR", words=20)
    odd = {f"extra{i}.weight": torch.ones(2) for i in range(10)}
    released.file(at_hand["file"], [image, text, {**sim, **odd}])
    with pytest.raises(CheckpointError, match=r"10 keys without a place .*sim_enc\.extra0.* and 2 more; if"):
        convert(**at_hand)
    assert not at_hand["output"].exists()
    assert convert(**at_hand, partial=True).without_place == [f"sim_enc.{key}" for key in odd]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layout": "vse_infty"}, "list of 3, expected 2"),
        ({"layout": "sgraff"}, "--from is 'sgraff', expected sgraf or vse_infty; did you mean 'sgraf'"),
        ({"network": "A"}, "holds one network, but --network is A"),
        ({"overrides": ["matcher.dim=3"]}, "--set matcher.dim=3: the file decides the rest"),
        ({"overrides": ["evaluation.batch=3"]}, "evaluation.batch: unknown key"),
        ({"data": {"name": "f30kk", "root": "x"}}, "unknown data set 'f30kk'; did you mean 'f30k'"),
        ({"data": {"name": "precomp", "root": "/nowhere"}}, "/nowhere does not exist"),
    ],
)
def test_what_cannot_be_asked(at_hand, change, reason):
    with pytest.raises(UserError) as caught:
        convert(**{**at_hand, **change})
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not at_hand["output"].exists()


def test_the_checkpoint_is_read_first(at_hand):
    """If both files are wrong, the message names the checkpoint, not the vocabulary."""
    at_hand["file"].write_text("no checkpoint")
    at_hand["vocabulary"].write_text("no vocabulary")
    with pytest.raises(CheckpointError, match="was not written by"):
        convert(**at_hand)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"words": 21}, "has 20 words but the network's embedding has 21 rows; give the vocabulary"),
        ({"width": 7}, "the data has 6 numbers a region and the network reads 7"),
        ({"regions": 5}, "the data has 4 regions an image and the network normalises 5 positions"),
    ],
)
def test_data_of_another_size(at_hand, released, sizes, reason):
    released.file(at_hand["file"], released.sgraf("SGR", **{"words": 20, **sizes}))
    with pytest.raises(DataError, match=reason):
        convert(**at_hand)
    assert not at_hand["output"].exists()


@pytest.mark.parametrize(
    ("part", "key", "value", "reason"),
    [
        (0, "fc.bias", None, r"model_best\.pth\.tar: the network lacks 1 of .*, img_enc\.fc\.bias; check"),
        (2, "sim_eval_w.bias", torch.ones(2), r"tar: sim_enc\.sim_eval_w\.bias has the shape \(2,\) where"),
        (1, "embed.weight", torch.ones(20), r"tar: txt_enc\.embed\.weight has the shape \(20,\), expected 2"),
        (2, "sim_eval_w.bias", torch.tensor([torch.nan]), r"sim_eval_w\.bias holds NaN"),
    ],
)
def test_tensors_that_do_not_fit(at_hand, released, part, key, value, reason):
    states = released.sgraf("SGR", words=20)
    states[part][key] = value
    if value is None:
        del states[part][key]
    released.file(at_hand["file"], states)
    with pytest.raises(CheckpointError, match=reason):
        convert(**at_hand)
    assert not at_hand["output"].exists()


def test_pictures_are_not_features(at_hand, tmp_path, monkeypatch):
    from robustcmr import plugins
    from robustcmr.data.base import PairsData, PairsSplit
    from robustcmr.data.precomp import Precomputed
    from robustcmr.options import Options

    class Pictures(PairsData):
        Config = Options

        def __init__(self, config):
            pass

        splits = fingerprint = Precomputed.splits

        def split(self, name):
            return PairsSplit(name, None, ["a"], np.zeros(1, np.int64), picture=str, image_names=["x"])

    monkeypatch.setitem(plugins.datasets._registered, "pictures", Pictures)
    with pytest.raises(DataError, match="pictures has no region features, which the network reads"):
        convert(**{**at_hand, "data": {"name": "pictures"}})


def test_what_is_there_is_kept(at_hand):
    convert(**at_hand)
    before = at_hand["output"].joinpath("config.yaml").stat().st_mtime_ns
    with pytest.raises(RunFolderError, match="already holds a run"):
        convert(**at_hand)
    assert at_hand["output"].joinpath("config.yaml").stat().st_mtime_ns == before
    (at_hand["output"] / "old.txt").write_text("x")
    convert(**at_hand, overwrite=True)
    assert not (at_hand["output"] / "old.txt").exists()


def test_settings_of_the_measurement(at_hand):
    convert(**at_hand, overrides=["evaluation.batch_size=3", "training.device=cpu"])
    tree = yaml.safe_load((at_hand["output"] / "config.yaml").read_text())
    assert (tree["evaluation"]["batch_size"], tree["training"]["device"]) == (3, "cpu")


def test_it_cannot_be_trained_further(at_hand):
    convert(**at_hand, overrides=["training.batch_size=16"])
    run = RunFolder(at_hand["output"])
    weights = (run.checkpoint("best") / "matcher_0.safetensors").read_bytes()
    measured = evaluate([run.path], "test", device="cpu")["metrics"]
    files = sorted(run.path.rglob("*"))
    with pytest.raises(
        RunFolderError, match=r"converted from .*model_best\.pth\.tar, so it can only be measured"
    ):
        resume(run.path)
    assert sorted(run.path.rglob("*")) == files
    with pytest.raises(ConfigError, match="was trained elsewhere and converted, so there is no training"):
        TrainedElsewhere(TrainedElsewhere.Config(), [], 10, 2)
    assert (run.checkpoint("best") / "matcher_0.safetensors").read_bytes() == weights
    assert not run.checkpoint("last").exists()
    assert run.read_results() is None
    assert evaluate([run.path], "test", device="cpu")["metrics"] == measured


def recalls(scores, n_images):
    """R@1, 5, 10 both ways of (N, 5N) scores, in percent."""
    own = np.arange(scores.shape[1]) // 5
    captions, images = np.argsort(-scores, 1).tolist(), np.argsort(-scores, 0).T.tolist()
    first = [min(captions[i].index(j) for j in np.flatnonzero(own == i)) for i in range(n_images)]
    back = [images[j].index(own[j]) for j in range(len(own))]
    return {
        f"{way}_r{k}": 100 * np.mean(np.array(ranks) < k)
        for way, ranks in (("i2t", first), ("t2i", back))
        for k in (1, 5, 10)
    }


@pytest.mark.parametrize("kind", ["SGR", "SAF", "VSE"])
@pytest.mark.parametrize("zipped", [True, False])
def test_measured_as_the_released_code_would(at_hand, released, kind, zipped, tmp_path):
    states = released.vse(words=20) if kind == "VSE" else released.sgraf(kind, words=20)
    released.file(at_hand["file"], states, zipped=zipped)
    convert(**{**at_hand, "layout": "vse_infty" if kind == "VSE" else "sgraf"})
    measured = evaluate([at_hand["output"]], "test", device="cpu")["metrics"]

    images = np.load(tmp_path / "data/test_ims.npy")
    lines = (tmp_path / "data/test_caps.txt").read_text().splitlines()
    captions = [[1, *(WORDS.index(word) for word in line.split()), 2] for line in lines]
    slow = released.slow_vse if kind == "VSE" else released.slow_sgraf
    expected = recalls(slow(states, images, captions), len(images))
    assert {key: measured[key] for key in expected} == pytest.approx(expected)
    assert 0 < expected["t2i_r1"] < 100


def test_its_method_neither_begins_nor_steps():
    with pytest.raises(ConfigError, match="trained elsewhere"):
        TrainedElsewhere(None, [], 10, 2)
    with pytest.raises(ConfigError, match="trained elsewhere"):
        TrainedElsewhere.training_step(object.__new__(TrainedElsewhere), {})
