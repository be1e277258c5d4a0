"""A folder of random features and captions, laid out as Flickr30K's, and the settings of a run on it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

CAPTIONS_PER_IMAGE = 5
VOCABULARY = 8000


def add_sizes(parser: ArgumentParser, pairs: int) -> None:
    """Options for the sizes, by default the published ones.

    Args:
        parser: of the suite.
        pairs: training pairs by default, five an image.
    """
    parser.add_argument("--pairs", type=int, default=pairs, help="training pairs, five an image")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--regions", type=int, default=36)
    parser.add_argument("--width", type=int, default=2048, help="numbers a region")
    parser.add_argument("--words", type=int, default=32, help="words of the longest caption, marks included")
    parser.add_argument("--dim", type=int, default=1024)


def write_folder(root: Path, options: Namespace) -> None:
    """Write a training and a small dev split.

    Captions have 12 words on average, as those of Flickr30K, and ``words`` less two marks at most.

    Args:
        root: an empty folder.
        options: sizes; see :func:`add_sizes`.
    """
    rng = np.random.default_rng(0)
    for split, n_images in (("train", options.pairs // CAPTIONS_PER_IMAGE), ("dev", 8)):
        shape = (n_images, options.regions, options.width)
        features = np.lib.format.open_memmap(root / f"{split}_ims.npy", "w+", np.float32, shape)
        for start in range(0, n_images, 64):
            block = features[start : start + 64]
            block[:] = np.abs(rng.standard_normal(block.shape, dtype=np.float32))
        features.flush()
        lengths = np.clip(rng.normal(12, 5, n_images * CAPTIONS_PER_IMAGE).round(), 3, options.words - 2)
        lengths[0] = options.words - 2
        rows = [" ".join(f"w{word}" for word in rng.integers(0, VOCABULARY, int(n))) for n in lengths]
        (root / f"{split}_caps.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


def settings(
    root: Path, options: Namespace, method: dict[str, Any], precision: str = "fp32"
) -> dict[str, Any]:
    """What a run on that folder is configured with: OMIT at the published sizes, one epoch.

    Args:
        root: the folder.
        options: sizes and ``device``.
        method: name and options of the method.
        precision: of the matcher.
    """
    return {
        "data": {"name": "precomp", "root": str(root)},
        "matcher": {"name": "omit", "dim": options.dim, "word_dim": 300, "region_hidden": options.dim // 2},
        "method": method,
        "noise": {"ratio": 0.4},
        "optim": {"name": "adam", "lr": 2e-4},
        "training": {
            "epochs": 1,
            "batch_size": options.batch,
            "device": options.device,
            "precision": precision,
        },
        "evaluation": {"test": None},
    }
