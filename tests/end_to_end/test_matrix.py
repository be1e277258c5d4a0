"""Every matcher with every method of the pairs track: two steps of training, and an evaluation.

Both are taken from what is registered, so that a new one joins by existing.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from robustcmr import plugins
from robustcmr.config.resolve import resolve
from robustcmr.run import train

# options of matchers that do not start without them; {clip} is the folder of a tiny CLIP
OPTIONS = {"clip": {"weights": "{clip}"}}


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


@pytest.mark.parametrize("method", plugins.methods.names())
@pytest.mark.parametrize("matcher", plugins.matchers.names())
def test_two_steps_and_an_evaluation(matcher, method, data_folder, clip_folder, pictures, tmp_path):
    options = {key: value.format(clip=clip_folder) for key, value in OPTIONS.get(matcher, {}).items()}
    cls = plugins.matchers.load(matcher)
    reads_pictures = cls.inputs(cls.Config(**options)).image_processor is not None
    data = (
        {"name": "images", "root": str(pictures)}
        if reads_pictures
        else {"name": "precomp", "root": str(data_folder)}
    )
    warmup = {"warmup_epochs": 1} if method == "l2rm" else {}
    run = train(
        resolve(
            {
                "data": data,
                "matcher": {"name": matcher, **options},
                "method": {"name": method, **warmup},
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
