"""Every matcher with every method: two steps of training and an evaluation, on both tracks.

All are taken from what is registered, so that a new one joins by existing.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from robustcmr import plugins
from robustcmr.config.resolve import resolve
from robustcmr.errors import PluginError
from robustcmr.jobs.train import train

# options of matchers that do not start without them; {clip} is the folder of a tiny CLIP
OPTIONS = {"clip": {"weights": "{clip}"}}
# those that make a method do in two epochs what it does later by itself
METHOD_OPTIONS = {
    "bicro": {"warmup_epochs": 1, "noisy_epoch": 1, "switch_epoch": 1},
    "cream": {"warmup_epochs": 1, "hard_epoch": 1, "noisy_epoch": 1},
    "decl": {"warmup_epochs": 1},
    "in2r": {"warmup_epochs": 1, "switch_epoch": 1},
    "l2rm": {"warmup_epochs": 1},
    "ncr": {"warmup_epochs": 1, "noisy_epoch": 1, "switch_epoch": 1},
    "osa": {"warmup_epochs": 1},
    "rde": {"warmup_epochs": 1},
    "robust": {"warmup_epochs": 1, "warmup_extension": 0},
    "sps": {"warmup_epochs": 1, "clean_epoch": 1, "noisy_epoch": 1},
    "uot_rcl": {"warmup_epochs": 1},
}
# matchers that read a vector of each image and text and give one
VECTOR_MATCHERS = ("two_tower", "embeddings")


def methods_of(track):
    """Names of the track's methods; one that cannot be loaded is in both matrices, to fail there by name."""
    found = []
    for name in plugins.methods.names():
        try:
            fits = plugins.methods.load(name).track == track
        except PluginError:
            fits = True
        if fits:
            found.append(name)
    return found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of small pictures, two captions each."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for split, n in (("train", 24), ("dev", 6)):
        lines = []
        for i in range(n):
            Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(
                root / f"images/{split}{i}.png"
            )
            lines += [f"{split}{i}.png\ta picture of number {i}", f"{split}{i}.png\tthis is {i}"]
        (root / f"{split}_caps.tsv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def folder(data_folder):
    """Region features and captions, with a vector of each caption."""
    rng = np.random.default_rng(0)
    for captions in data_folder.glob("*_caps.txt"):
        rows = len(captions.read_text().splitlines())
        vectors = rng.normal(size=(rows, 6)).astype(np.float32)
        np.save(captions.with_name(captions.name.replace("_caps.txt", "_txts.npy")), vectors)
    return data_folder


def matrix():
    """Every matcher with every method; marked slow but for a cross of one quick matcher and two methods."""
    for matcher in plugins.matchers.names():
        for method in methods_of("pairs"):
            quick = matcher == "vse_infty" or method in ("infonce", "robust")
            yield pytest.param(matcher, method, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("matcher", "method"), matrix())
def test_pairs_two_steps_and_an_evaluation(matcher, method, folder, clip_folder, pictures, tmp_path):
    options = {key: value.format(clip=clip_folder) for key, value in OPTIONS.get(matcher, {}).items()}
    cls = plugins.matchers.load(matcher)
    reads_pictures = cls.inputs(cls.Config(**options)).image_processor is not None
    data = (
        {"name": "images", "root": str(pictures)}
        if reads_pictures
        else {"name": "precomp", "root": str(folder)}
    )
    run = train(
        resolve(
            {
                "data": data,
                "matcher": {"name": matcher, **options},
                "method": {"name": method, **METHOD_OPTIONS.get(method, {})},
                "noise": {"ratio": 0.4},
                "training": {"epochs": 2, "batch_size": 48 if reads_pictures else 200, "device": "cpu"},
                "evaluation": {"test": None},
            }
        ),
        tmp_path / "run",
    )
    results = run.read_results()
    assert results["parameters"] > 0
    assert 0 < results["splits"]["dev"]["rsum"] <= 600


@pytest.mark.parametrize("protocol", ["shared", "per_modality"])
@pytest.mark.parametrize("method", methods_of("labels"))
@pytest.mark.parametrize("matcher", VECTOR_MATCHERS)
def test_labels_two_steps_and_an_evaluation(matcher, method, protocol, labelled_folder, tmp_path):
    run = train(
        resolve(
            {
                "data": {"name": "labelled", "root": str(labelled_folder)},
                "matcher": {"name": matcher, "dim": 8},
                "method": {"name": method, **METHOD_OPTIONS.get(method, {})},
                "noise": {"ratio": 0.4, "kind": "symmetric", "protocol": protocol},
                "training": {"epochs": 2, "batch_size": 60, "device": "cpu"},
                "evaluation": {"test": None},
            }
        ),
        tmp_path / "run",
    )
    results = run.read_results()
    assert results["parameters"] > 0
    assert (results["track"], results["method"], results["protocol"]) == ("labels", method, protocol)
    assert 0 < results["splits"]["dev"]["map"] <= 100
