"""Pretrained models on real picture files, through the command line; weights are tiny and random."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from robustcmr.data.scenes import Scenes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes as JPEG files with five captions each, and one picture of every kind of trouble."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "images").mkdir()
    data = Scenes(Scenes.Config(n_train=40, n_dev=12, n_test=8))
    for name in data.splits():
        split = data.split(name)
        for i, image in enumerate(split.image_names):
            split.picture(i).convert("RGB").save(root / "images" / f"{image}.jpg", quality=95)
        lines = [
            f"{split.image_names[i]}.jpg\t{caption}"
            for i, caption in zip(split.image_of_caption, split.captions, strict=True)
        ]
        (root / f"{name}_caps.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def robustcmr(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "robustcmr", *map(str, words)], cwd=cwd, text=True, capture_output=True
    )


def trained(folder, tmp_path, *words):
    done = robustcmr(
        *("train", "--data", "images", "--data-root", folder, "--noise", "0.4", "--epochs", "1"),
        *("--batch-size", "20", "--method", "infonce", "--output", "run", "--json", *words),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_clip_trains_from_picture_files_read_by_workers(folder, clip_folder, tmp_path):
    words = ("--set", f"matcher.weights={clip_folder}", "--set", "training.workers=2")
    results = trained(folder, tmp_path, *words)
    assert results["training_pairs"] == 200
    assert set(results["splits"]) == {"dev", "test"}
    assert not (tmp_path / "run/vocabulary.json").exists()
    again = robustcmr("eval", "run", "--split", "test", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["metrics"]["rsum"] == pytest.approx(results["splits"]["test"]["rsum"])


@pytest.mark.slow
def test_omit_takes_patches_of_clip_and_words_of_bert(folder, clip_folder, bert_folder, tmp_path):
    results = trained(
        *(
            folder,
            tmp_path,
            "--set",
            "matcher.image_encoder=clip",
            "--set",
            f"matcher.image_weights={clip_folder}",
        ),
        *("--set", "matcher.text_encoder=bert", "--set", f"matcher.text_weights={bert_folder}"),
        *("--method", "robust", "--epochs", "2", "--set", "method.warmup_epochs=1"),
    )
    assert results["matcher"] == "omit"
    lines = (tmp_path / "run/pairs.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 201
    assert "train-0000.jpg" in lines[1] or ".jpg" in lines[1]


def test_omit_takes_words_of_bert_beside_region_features(bert_folder, tmp_path):
    done = robustcmr(
        *("train", "--epochs", "1", "--method", "infonce", "--output", "run", "--json"),
        *("--set", "data.n_train=40", "--set", "data.n_dev=10", "--set", "data.n_test=10"),
        *("--set", "matcher.text_encoder=bert", "--set", f"matcher.text_weights={bert_folder}"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_clip_draws_the_embedded_scenes(clip_folder, tmp_path):
    done = robustcmr(
        *("train", "--matcher", "clip", "--set", f"matcher.weights={clip_folder}", "--epochs", "1"),
        *("--method", "infonce", "--output", "run", "--json", "--set", "evaluation.test=null"),
        *("--set", "data.n_train=40", "--set", "data.n_dev=10", "--set", "data.n_test=10"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_broken_picture_is_named_or_left_out(folder, clip_folder, tmp_path):
    path = folder / "images/train-0007.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    words = ("--matcher", "clip", "--set", f"matcher.weights={clip_folder}")
    try:
        done = robustcmr(
            "train", "--data", "images", "--data-root", folder, *words, "--output", "bad", cwd=tmp_path
        )
        assert done.returncode == 2
        assert "1 of 40 pictures" in done.stderr
        assert "train-0007.jpg" in done.stderr
        assert not (tmp_path / "bad").exists()
        results = trained(folder, tmp_path, *words, "--set", "data.broken=skip")
        assert results["training_pairs"] == 195
        assert "train-0007.jpg" in (tmp_path / "run/log.txt").read_text()
    finally:
        path.write_bytes(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--data", "images", "--data-root", "{root}"), "matcher.weights: missing, set it with --set"),
        (
            ("--data", "images", "--data-root", "{root}", "--matcher", "omit"),
            "pictures but no region features",
        ),
        (("--matcher", "clip"), "matcher.weights: missing"),
        (("--matcher", "clip", "--set", "matcher.weights=no/such-model"), "config.json"),
        (("--set", "matcher.image_encoder=clip"), "image_encoder=clip needs image_weights"),
        (("--set", "matcher.text_encoder=bert"), "text_encoder=bert needs text_weights"),
        (("--set", "matcher.image_weights=x"), "image_weights is given but image_encoder=regions reads none"),
        (("--matcher", "embeddings", "--set", "matcher.texts=vectors"), "_txts.npy"),
        (("--set", "matcher.word_vectors=nowhere.txt"), "cannot read the word vectors"),
    ],
)
def test_what_does_not_fit_is_one_sentence(folder, tmp_path, words, sentence):
    done = robustcmr("train", *(word.format(root=folder) for word in words), "--output", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_pictures_of_the_folder_fit_the_scenes(folder):
    """The files are what the data set draws, so the tests above saw real pictures."""
    data = Scenes(Scenes.Config(n_train=40, n_dev=12, n_test=8))
    drawn = np.asarray(data.split("train").picture(3).convert("RGB"), dtype=float)
    saved = np.asarray(Image.open(folder / "images/train-0003.jpg"), dtype=float)
    assert np.abs(drawn - saved).mean() < 8
