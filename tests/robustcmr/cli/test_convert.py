"""``robustcmr convert``: from a released file to ``robustcmr eval``, on the command line."""

import argparse
import json
import os

import numpy as np
import pytest
import torch

from robustcmr.data.vocabulary import SPECIAL_WORDS, Vocabulary

WORDS = [*SPECIAL_WORDS, "a", "picture", "of", "and", *(f"thing{i}" for i in range(12))]


def tensors(seed, **shapes):
    generator = torch.Generator().manual_seed(seed)
    return {key.replace("__", "."): torch.randn(*shape, generator=generator) for key, shape in shapes.items()}


def gru(prefix, inputs, hidden):
    shapes = {}
    for way in ("", "_reverse"):
        shapes[f"{prefix}__weight_ih_l0{way}"] = (3 * hidden, inputs)
        shapes[f"{prefix}__weight_hh_l0{way}"] = (3 * hidden, hidden)
        shapes[f"{prefix}__bias_ih_l0{way}"] = shapes[f"{prefix}__bias_hh_l0{way}"] = (3 * hidden,)
    return shapes


def network(seed):
    """A VSE infinity network without the added layers, 6 numbers a region, width 8."""
    pooling = {**gru("gpool__gru", 32, 32), "gpool__linear__weight": (1, 32)}
    return [
        tensors(seed, fc__weight=(8, 6), fc__bias=(8,), **pooling),
        tensors(seed + 1, embed__weight=(len(WORDS), 4), **gru("rnn", 4, 8), **pooling),
    ]


@pytest.fixture
def words(tmp_path, make_folder):
    """The words of a command that fits."""
    root = make_folder(tmp_path / "data", {"train": 8, "test": 6}, width=6)
    Vocabulary(WORDS).save(tmp_path / "vocab.json")
    options = argparse.Namespace(data_name="f30k_precomp")
    torch.save({"model": network(0), "best_rsum": np.float64(5.5), "opt": options}, tmp_path / "m.pth.tar")
    return [
        *("convert", tmp_path / "m.pth.tar", "--from", "vse_infty", "--data", "precomp"),
        *("--data-root", root, "--vocabulary", tmp_path / "vocab.json", "-o", tmp_path / "run"),
        *("--set", "training.device=cpu"),
    ]


def test_the_report(robustcmr, words, tmp_path):
    outcome = robustcmr(*words)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "vse_infty: dim 8, image_encoder linear, text_encoder bigru, word_dim 4, feature_width 6, "
        "vocabulary_size 20",
        "the file says, unchecked: best_rsum 5.5, data_name f30k_precomp",
        "the vocabulary knows 100.0% of the words of the first training captions",
        "29 keys mapped",
        "0 keys folded",
        "0 keys without effect on a score",
        "0 keys without a place, left out",
        f"saved in {tmp_path / 'run'}; measure it: robustcmr eval {tmp_path / 'run'} --split test",
    ]


def test_keys_are_named(robustcmr, words, tmp_path):
    image, text = network(0)
    image |= tensors(5, mlp__layers__0__weight=(3, 6), mlp__layers__0__bias=(3,), odd=(1,))
    image |= tensors(5, mlp__layers__1__weight=(8, 3), mlp__layers__1__bias=(8,))
    for i, width in ((0, 3), (1, 8)):
        for name in ("weight", "bias", "running_mean", "running_var"):
            image[f"mlp.bns.{i}.{name}"] = torch.ones(width)
    torch.save({"model_A": [image, text], "model_B": network(0)}, tmp_path / "m.pth.tar")
    outcome = robustcmr(*words, "--network", "A")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        f"robustcmr: {tmp_path / 'm.pth.tar'} has 1 key without a place in the matcher vse_infty, "
        "img_enc.odd; if the network's scores do not depend on them, ignore them with --partial\n"
    )
    out = robustcmr(*words, "--network", "A", "--partial").out.splitlines()
    assert out[0].startswith("vse_infty, network A: dim 8, image_encoder regions")
    assert "1 key folded:" in out
    assert "  img_enc.mlp.layers.0.bias into regions.network.1.running_mean" in out
    assert "4 keys without effect on a score:" in out
    assert "  img_enc.mlp.bns.1.bias (the last layer of the released network is not normalised)" in out
    assert out[-3:-1] == ["1 key without a place, left out:", "  img_enc.odd"]


def test_then_eval_alone_and_as_an_ensemble(robustcmr, words, tmp_path):
    report = json.loads(robustcmr(*words, "--json").out)
    assert (report["matcher"], report["run"]) == ("vse_infty", str(tmp_path / "run"))
    torch.save({"model": network(7)}, tmp_path / "m.pth.tar")
    other = [tmp_path / "other" if word == tmp_path / "run" else word for word in words]
    assert robustcmr(*other).code == 0
    one = json.loads(robustcmr("eval", tmp_path / "run", "--json").out)
    both = json.loads(robustcmr("eval", tmp_path / "run", tmp_path / "other", "--json").out)
    assert (one["n_models"], both["n_models"]) == (1, 2)
    assert both["by_model"][0] == one["metrics"]


def test_what_other_commands_say_of_it(robustcmr, words, tmp_path):
    robustcmr(*words)
    run = tmp_path / "run"
    resumed = robustcmr("train", "--resume", run)
    assert (resumed.code, resumed.out) == (2, "")
    for outcome in (
        resumed,
        robustcmr("suspects", run),
        robustcmr("eval", run, "--checkpoint", "last"),
        robustcmr("eval", run, "--split", "dev"),
        robustcmr(*words),
    ):
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith("robustcmr: ")
        assert outcome.err.count("\n") == 1
    assert robustcmr("eval", run).code == 0
    assert robustcmr("validate", run / "config.yaml").code == 0


def test_a_file_that_wants_to_run_something(robustcmr, words, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.system, (f"echo > {tmp_path / 'ran'}",)

    torch.save({"model": network(0), "opt": Payload()}, tmp_path / "m.pth.tar")
    outcome = robustcmr(*words)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"asks for {os.system.__module__}.system while it is read" in outcome.err
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "run").exists()


def test_help_says_what_is_needed(robustcmr):
    text = " ".join(robustcmr("convert", "--help").out.replace("│", " ").split())
    for said in ("the checkpoint", "vocabulary JSON", "Nothing in the checkpoint is executed", "sgraf"):
        assert said in text
