"""Small finished runs, trained once; not to be changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustcmr import plugins
from robustcmr.config.resolve import resolve
from robustcmr.jobs.train import train
from robustcmr.methods.base import Method
from robustcmr.options import Options
from robustcmr.types import StepResult


class TwoMatchers(Method):
    """Trains two matchers by the mean of their hinge-like losses."""

    n_matchers = 2

    class Config(Options):
        """No options."""

    def training_step(self, batches: Any) -> StepResult:
        (batch,) = batches.values()
        scores = [matcher(batch.images, batch.texts) for matcher in self.matchers]
        return StepResult(sum((1 - each.diagonal()).mean() for each in scores))


def train_small(folder: Path, root: Path, **sections: Any) -> Path:
    tree = {
        "data": {"name": "precomp", "root": str(root)},
        "noise": {"ratio": 0.3},
        "training": {"epochs": 1, "batch_size": 40, "device": "cpu"},
        **sections,
    }
    return train(resolve(tree), folder).path


@pytest.fixture(scope="session")
def make_small_run() -> Any:
    """The function that trains a small run."""
    return train_small


@pytest.fixture(scope="session")
def two_matchers() -> str:
    """The name of a method that trains two matchers."""
    plugins.methods.register("two-matchers")(TwoMatchers)
    return "two-matchers"


@pytest.fixture(scope="session")
def small_data(make_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train 40, dev 12 and test 10 images of 3 regions of 8 numbers, 5 captions each."""
    return Path(make_folder(tmp_path_factory.mktemp("small") / "data"))


@pytest.fixture(scope="session")
def omit_run(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OMIT, which compares fragments, by the default method, which estimates pairs."""
    return train_small(
        tmp_path_factory.mktemp("runs") / "omit",
        small_data,
        matcher={"name": "omit", "dim": 16, "word_dim": 8, "region_hidden": 8, "backend": "tensors"},
        method={"name": "robust"},
        training={"epochs": 6, "batch_size": 40, "device": "cpu"},
    )


@pytest.fixture(scope="session")
def vector_run(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One vector a side, by a method that estimates nothing."""
    return train_small(
        tmp_path_factory.mktemp("runs") / "vectors",
        small_data,
        matcher={"name": "embeddings", "dim": 16},
        method={"name": "infonce"},
    )


@pytest.fixture(scope="session")
def labels_run(make_labelled_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled vectors, 10 numbers an image and 6 a text, standardised."""
    root = make_labelled_folder(tmp_path_factory.mktemp("labelled") / "data")
    return train_small(
        tmp_path_factory.mktemp("runs") / "labels",
        root,
        data={"name": "labelled", "root": str(root), "standardise": "train", "normalise": True},
        matcher={"name": "two_tower", "dim": 8, "hidden": [8]},
        method={"name": "uot_rcl"},
    )


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of ``images`` layout: train 40, dev and test 6 pictures, one caption each."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for split, n in (("train", 40), ("dev", 6), ("test", 6)):
        for row in range(n):
            pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / f"{split}{row}.png")
        lines = (f"{split}{row}.png\ta red circle number {row}\n" for row in range(n))
        (root / f"{split}_caps.tsv").write_text("".join(lines))
    return root


@pytest.fixture(scope="session")
def clip_run(pictures: Path, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP on pictures."""
    return train_small(
        tmp_path_factory.mktemp("runs") / "clip",
        pictures,
        data={"name": "images", "root": str(pictures)},
        matcher={"name": "clip", "weights": str(clip_folder)},
        method={"name": "infonce"},
        training={"epochs": 1, "batch_size": 20, "device": "cpu"},
    )
