"""Mistakes in Python: each is answered by one exception of ours, with one sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import robustcmr

REGIONS = np.ones((2, 3, 8), np.float32)
NAN = np.full((1, 3, 8), np.nan, np.float32)


def closed(run):
    run.close()
    return run


def embeddings_of_another(run, other):
    return run.score(other.embed_images(REGIONS), ["thing1"])


def endless_line(folder):
    path = folder / "long.txt"
    path.write_text("thing1 " * 20_000)
    return path


def written(folder, content, name="captions.txt"):
    path = folder / name
    path.write_bytes(content)
    return path


def pipe(folder):
    os.mkfifo(folder / "captions.txt")
    return folder / "captions.txt"


def written_vectors(run, folder):
    run.embed_texts("a", output=folder / "vectors")
    return folder / "vectors"


# what is done with a run of a fragment matcher, another run and an empty folder; and the sentence
MISTAKES = {
    # folders
    "no folder": (lambda r, o, f: robustcmr.load(f / "gone"), "holds no run"),
    "an empty folder": (lambda r, o, f: robustcmr.load(f), "holds no run"),
    "path of None": (lambda r, o, f: robustcmr.load(None), "the run folder is None, expected a path"),
    "path of a number": (lambda r, o, f: robustcmr.load(3), "the run folder is 3, expected a path"),
    "a path too long": (
        lambda r, o, f: robustcmr.load("x" * 5000),
        "cannot be a path: File name too long; give one",
    ),
    "a path with NUL": (
        lambda r, o, f: r.embed_texts("a", output="a\0b"),
        "cannot be a path: embedded null byte",
    ),
    "a file with NUL": (
        lambda r, o, f: r.embed_texts(Path("a\0b")),
        "cannot read the captions a.*no file can have such a name",
    ),
    "an image too long": (lambda r, o, f: r.embed_images(["x" * 5000]), "is not there; check its path"),
    "embeddings of the other side": (
        lambda r, o, f: r.search("a", among=written_vectors(r, f)),
        "holds embeddings of texts alone; embed images there too",
    ),
    "empty path": (lambda r, o, f: robustcmr.load(""), "the run folder is '', expected a path"),
    "unknown device": (
        lambda r, o, f: robustcmr.load(r.path, device="gpu"),
        "device is 'gpu', expected auto",
    ),
    "device of None": (lambda r, o, f: robustcmr.load(r.path, device=None), "device is None, expected auto"),
    "absent device": (
        lambda r, o, f: robustcmr.load(r.path, device="cuda:99").embed_texts("thing1"),
        "device cuda",
    ),
    "batch size 0": (
        lambda r, o, f: robustcmr.load(r.path, batch_size=0),
        "batch_size is 0, expected a whole",
    ),
    "batch size 2.5": (lambda r, o, f: robustcmr.load(r.path, batch_size=2.5), "batch_size is 2.5, expected"),
    "checkpoint": (
        lambda r, o, f: robustcmr.load(r.path, checkpoint="final"),
        "checkpoint is 'final', expected",
    ),
    "closed run, embed": (lambda r, o, f: closed(robustcmr.load(r.path)).embed_texts("a"), "is closed"),
    "closed run, results": (lambda r, o, f: closed(robustcmr.load(r.path)).results, "is closed"),
    "closed run, suspects": (lambda r, o, f: closed(robustcmr.load(r.path)).suspects(), "is closed"),
    # outcomes
    "unknown result": (lambda r, o, f: r.results.r_sum, "no 'r_sum' here; did you mean 'rsum'"),
    "unknown split": (lambda r, o, f: r.results.splits.tset, "no 'tset' here; did you mean 'test'"),
    "no estimates": (lambda r, o, f: o.pairs, "has no pairs.csv: its method does not estimate"),
    "no suspects": (lambda r, o, f: o.suspects(5), "its method does not estimate which pairs are wrong"),
    "no labels": (lambda r, o, f: r.labels, "corrects no labels"),
    "suspects of -1": (lambda r, o, f: r.suspects(-1), "top is -1, expected a whole number of at least 1"),
    "suspects of text": (lambda r, o, f: r.suspects("20"), "top is '20', expected a whole number"),
    "report into a folder": (lambda r, o, f: r.report(f), "is a folder, expected a file"),
    "gallery of -1": (lambda r, o, f: r.report(gallery=-1), "gallery is -1, expected"),
    # texts
    "no texts": (lambda r, o, f: r.embed_texts([]), "no captions were given; give at least one"),
    "no texts, generator": (lambda r, o, f: r.embed_texts(iter(())), "no captions were given"),
    "texts of None": (lambda r, o, f: r.embed_texts(None), "captions are None; expected text"),
    "texts of a number": (lambda r, o, f: r.embed_texts(5), r"captions are 5 \(int\); expected text"),
    "texts of bytes": (lambda r, o, f: r.embed_texts(b"a star"), "captions are a bytes; expected text"),
    "texts of a mapping": (lambda r, o, f: r.embed_texts({"a": 1}), "captions are a dict; expected text"),
    "a number among texts": (
        lambda r, o, f: r.embed_texts(["a", 7]),
        r"caption 1 is 7 \(int\); expected text",
    ),
    "an empty text": (lambda r, o, f: r.embed_texts(["a", " "]), "caption 1 is empty; expected words"),
    "half a character": (lambda r, o, f: r.embed_texts(["\ud800"]), "caption 0 holds half a character"),
    "vectors for words": (
        lambda r, o, f: r.embed_texts(np.ones((2, 4))),
        r"are an array \(2, 4\), and this run reads words; give a list of texts",
    ),
    "name of a file": (
        lambda r, o, f: r.embed_texts(str(written(f, b"a\n"))),
        "is the name of a file; give pathlib.Path",
    ),
    "no file of texts": (
        lambda r, o, f: r.embed_texts(f / "gone.txt"),
        "cannot read the captions .*No such file",
    ),
    "a folder of texts": (lambda r, o, f: r.embed_texts(f), "cannot read the captions .* directory"),
    "a pipe of texts": (
        lambda r, o, f: r.embed_texts(pipe(f)),
        "it is a named pipe, expected a regular file",
    ),
    "a blank line": (lambda r, o, f: r.embed_texts(written(f, b"a\n\nb\n")), "line 2 of .* is empty"),
    "an empty file": (lambda r, o, f: r.embed_texts(written(f, b"")), "no captions were given"),
    "not UTF-8": (lambda r, o, f: r.embed_texts(written(f, b"a\n\xff\n")), "is not UTF-8 text"),
    "an endless line": (
        lambda r, o, f: r.embed_texts(endless_line(f)),
        "line 1 of .* has over 100,000 characters",
    ),
    # images
    "no images": (lambda r, o, f: r.embed_images([]), "no images were given; give at least one"),
    "images of None": (
        lambda r, o, f: r.embed_images(None),
        r"images are None; expected region features: an array",
    ),
    "an empty array": (lambda r, o, f: r.embed_images(REGIONS[:0]), r"got an array \(0, 3, 8\)"),
    "regions of another width": (
        lambda r, o, f: r.embed_images(np.ones((2, 3, 9), np.float32)),
        r"got an array \(2, 3, 9\) of float32; expected region features: an array \(n, 3, 8\)",
    ),
    "one image without a batch": (lambda r, o, f: r.embed_images(REGIONS[0]), r"got an array \(3, 8\)"),
    "an array of text": (
        lambda r, o, f: r.embed_images(np.full((2, 3, 8), "a")),
        r"got an array \(2, 3, 8\) of <U1",
    ),
    "numbers that are not finite": (
        lambda r, o, f: r.embed_images(NAN),
        "image 0 has NaN or infinite numbers",
    ),
    "a number among images": (lambda r, o, f: r.embed_images([REGIONS[0], 3]), r"image 1 is 3 \(int\)"),
    "a picture": (
        lambda r, o, f: r.embed_images(Image.new("RGB", (9, 9))),
        "image 0 is a picture; expected region",
    ),
    "no file of images": (lambda r, o, f: r.embed_images(f / "gone.npy"), "gone.npy"),
    "a file of pictures": (
        lambda r, o, f: r.embed_images(written(f, b"GIF", "a.gif")),
        "is no .npy file, and this run reads region features",
    ),
    "a folder without images": (lambda r, o, f: r.embed_images(f), "has no image; expected region features"),
    # scores and searches
    "embeddings of another run": (
        lambda r, o, f: embeddings_of_another(r, o),
        "were embedded by another model than that of",
    ),
    "sides exchanged": (
        lambda r, o, f: r.score(r.embed_texts("a"), r.embed_texts("b")),
        "these are embeddings of texts; expected images",
    ),
    "nothing to search for": (lambda r, o, f: r.search(), "a text or an image, and got neither; give one"),
    "two things to search for": (lambda r, o, f: r.search("a", image=REGIONS[:1]), "and got both; give one"),
    "several texts": (lambda r, o, f: r.search(["a", "b"]), "search takes one text and got 2"),
    "k of 0": (lambda r, o, f: r.search("a", k=0), "k is 0, expected a whole number of at least 1"),
    "k of True": (lambda r, o, f: r.search("a", k=True), "k is True, expected a whole number"),
    "a split that is not there": (
        lambda r, o, f: r.search("a", split="holdout"),
        "no split 'holdout', only train",
    ),
    "a split of a number": (lambda r, o, f: r.search("a", split=1), "split is 1, expected a name"),
    "two galleries": (lambda r, o, f: r.search("a", among=REGIONS, split="dev"), "give one of them"),
    "vectors twice": (
        lambda r, o, f: [r.embed_texts("a", output=f / "v") for _ in range(2)],
        "texts.npy is already there; choose another folder, or replace it",
    ),
    "vectors into a file": (
        lambda r, o, f: r.embed_texts("a", output=written(f, b"")),
        "is a file; expected a folder for the vectors",
    ),
    # training and comparing
    "unknown matcher": (
        lambda r, o, f: robustcmr.train(matcher="omitt"),
        "unknown matcher 'omitt'; did you mean",
    ),
    "noise of 40": (lambda r, o, f: robustcmr.train(noise=40), "noise.ratio"),
    "noise of text": (lambda r, o, f: robustcmr.train(noise="much"), "noise.ratio"),
    "epochs of 0": (lambda r, o, f: robustcmr.train(epochs=0), "training.epochs"),
    "unknown setting": (lambda r, o, f: robustcmr.train(settings={"optim.lrr": 1}), "optim.lrr"),
    "settings of text": (lambda r, o, f: robustcmr.train(settings="optim.lr=1"), "expected keys with values"),
    "unknown recipe": (lambda r, o, f: robustcmr.train(config="gone"), "gone"),
    "into a finished run": (
        lambda r, o, f: robustcmr.train(output=r.path, progress=False),
        "already holds a run",
    ),
    "resume with options": (
        lambda r, o, f: robustcmr.train(resume=r.path, seed=3),
        "does not go with seed",
    ),
    "resume with fewer epochs": (
        lambda r, o, f: robustcmr.train(resume=r.path, epochs=0, progress=False),
        "epochs",
    ),
    "resume nothing": (lambda r, o, f: robustcmr.train(resume=f, progress=False), "holds no run"),
    "compare nothing": (lambda r, o, f: robustcmr.compare([]), "no run folder was given; name some"),
    "compare None": (lambda r, o, f: robustcmr.compare(None), "the runs are None, expected run folders"),
    "compare what is gone": (
        lambda r, o, f: robustcmr.compare(f / "gone"),
        "is not there, expected a run folder",
    ),
    "compare an unknown split": (lambda r, o, f: robustcmr.compare(r, split="dev2"), "dev2"),
    "compare with an unknown method": (
        lambda r, o, f: robustcmr.compare(r, against="clip"),
        "'clip' given as the",
    ),
}


@pytest.fixture(scope="module")
def both(omit_run, vector_run):
    return robustcmr.load(omit_run, device="cpu"), robustcmr.load(vector_run, device="cpu")


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_by_one_sentence(name, both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    act, sentence = MISTAKES[name]
    with pytest.raises(robustcmr.UserError) as raised:
        act(*both, tmp_path)
    told = str(raised.value)
    assert re.search(sentence, told), told
    assert "\n" not in told or "problem" in told  # several problems of a configuration are a list
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("run", "act", "sentence"),
    [
        (
            "labels_run",
            lambda r: r.embed_texts("a star"),
            r"are text, and this run reads a vector of each text; give an",
        ),
        (
            "labels_run",
            lambda r: r.embed_texts(np.ones((2, 5))),
            r"array \(2, 5\) of float64, and this run reads a",
        ),
        (
            "labels_run",
            lambda r: r.embed_images(np.ones((2, 3, 10))),
            r"got an array \(2, 3, 10\) of float64",
        ),
        ("labels_run", lambda r: r.embed_images(np.ones((2, 7))), r"expected vectors: an array \(n, 10\)"),
        (
            "labels_run",
            lambda r: r.embed_texts(np.full((1, 6), np.inf)),
            "text 0 has NaN or infinite numbers",
        ),
        (
            "clip_run",
            lambda r: r.embed_images(np.ones((5, 5, 3))),
            r"an array \(5, 5, 3\) of float64, expected uint8",
        ),
        ("clip_run", lambda r: r.embed_images(Path("gone.png")), "the image file gone.png is not there"),
        ("clip_run", lambda r: r.embed_images([Path()]), "the image file . is a folder"),
        ("clip_run", lambda r: r.embed_images(__file__), "cannot read the picture .*test_mistakes.py"),
    ],
)
def test_mistakes_with_vectors_and_pictures(run, act, sentence, request):
    with pytest.raises(robustcmr.UserError, match=sentence):
        act(robustcmr.load(request.getfixturevalue(run), device="cpu"))


def test_there_are_forty_kinds():
    assert len(MISTAKES) >= 40


def test_a_missing_package_is_named(both, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        robustcmr.UserError, match="needs the package pandas, which is not installed; pip install"
    ):
        both[0].pairs.to_pandas()
