"""``robustcmr search`` and ``robustcmr embed`` on a small run."""

import json

import numpy as np
import pytest

from robustcmr.config.resolve import resolve
from robustcmr.jobs.train import train


@pytest.fixture(scope="module")
def trained(make_folder, tmp_path_factory):
    """A run with one vector a side."""
    root = tmp_path_factory.mktemp("search")
    tree = {
        "data": {"name": "precomp", "root": str(make_folder(root / "data"))},
        "matcher": {"name": "embeddings", "dim": 8},
        "method": "infonce",
        "training": {"epochs": 1, "batch_size": 40, "device": "cpu"},
    }
    return train(resolve(tree), root / "run").path


def test_images_for_a_caption(robustcmr, trained):
    done = robustcmr("search", trained, "thing1 and a zebra", "-k", 3)
    assert done.code == 0, done.err
    assert "The best 3 of 10 images for 'thing1 and a zebra'" in done.out
    assert "never seen the words 'zebra'" in done.out
    assert done.out.count("a picture of") >= 3  # their captions
    found = json.loads(robustcmr("search", trained, "thing1", "--split", "dev", "--json").out)
    assert (found["kind"], found["searched"], found["search"], len(found["hits"])) == (
        *("images", 12, "vectors"),
        10,
    )
    assert list(found["hits"][0]) == ["rank", "score", "index", "name", "captions"]


def test_embed_then_search(robustcmr, trained, tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).normal(size=(5, 3, 8)).astype(np.float32))
    (tmp_path / "captions.txt").write_text("thing1\nthing2 and thing3\n")
    words = (
        "--images",
        tmp_path / "images.npy",
        "--captions",
        tmp_path / "captions.txt",
        "-o",
        tmp_path / "out",
    )
    done = robustcmr("embed", trained, *words)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        f"wrote {tmp_path}/out/images.npy: 5 images, 8 numbers each",
        f"wrote {tmp_path}/out/texts.npy: 2 texts, 8 numbers each",
    ]
    assert np.load(tmp_path / "out/images.npy").shape == (5, 8)
    assert (tmp_path / "out/texts.txt").read_text() == "thing1\nthing2 and thing3\n"
    found = json.loads(robustcmr("search", trained, "thing1", "--among", tmp_path / "out", "--json").out)
    assert found["searched"] == 5
    np.save(tmp_path / "one.npy", np.ones((1, 3, 8), np.float32))
    done = robustcmr("search", trained, "--image", tmp_path / "one.npy", "--among", tmp_path / "captions.txt")
    assert "thing2 and thing3" in done.out
    again = robustcmr("embed", trained, *words)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "already there; choose another folder" in again.err
    assert json.loads(robustcmr("embed", trained, *words, "--overwrite", "--json").out)["texts"]["count"] == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("search", "RUN"), "search takes a text or an image, and got neither; give one"),
        (("search", "RUN", "a", "--image", "x.npy"), "got both; give one"),
        (("search", "gone", "a"), "gone holds no run"),
        (("search", "RUN", "a", "--among", "gone"), "gone"),
        (("search", "RUN", "a", "--device", "gpu"), "device is 'gpu', expected auto"),
        (
            ("embed", "RUN", "-o", "out"),
            "there is nothing to embed; name --images DIR, --captions FILE, or both",
        ),
        (("embed", "RUN", "--captions", "gone.txt", "-o", "out"), "cannot read the captions gone.txt"),
        (("embed", "RUN", "--images", "gone", "-o", "out"), "the image file gone is not there"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(robustcmr, trained, words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = robustcmr(*(trained if word == "RUN" else word for word in words))
    assert done.code == 2
    assert sentence in done.err
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
