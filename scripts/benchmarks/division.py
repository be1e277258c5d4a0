"""L2RM's division pass over a training set: pairs a second, beside bare forward scores of as many pairs.

    python scripts/benchmarks/division.py

The pass reads the features from their file, encodes and scores shuffled batches in evaluation mode, takes the
evidence and fits its mixture. The floor is encoding and scoring as many batches that are in memory already.
The reference is the same pass with the released formula written plainly in tensors. Sizes are the published
ones, features and captions random; see steps.py.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    Floor,
    benchmark_parser,
    headline,
    machine_description,
    parsed,
    publish,
    stopwatch,
)
from random_pairs import add_sizes, settings, write_folder
from released import released_formula
from steps import METHODS, load_kernels

from robustcmr.config.resolve import resolve
from robustcmr.evaluation.scoring import evaluation_mode
from robustcmr.jobs.open import build_matchers
from robustcmr.tracks.build import build_track
from robustcmr.training.devices import build_accelerator
from robustcmr.training.scorer import TrainingSetScorer
from robustcmr.training.seeds import seed_everything


def measure(options: Namespace, root: Path) -> dict[str, object]:
    """The row."""
    write_folder(root, options)
    config = resolve(settings(root, options, METHODS["l2rm"]))
    accelerator = build_accelerator(options.device, "fp32")
    track = build_track(config)
    seed_everything(0)
    matchers = build_matchers(config, track, accelerator)
    make: Callable[..., Any] = config.method.cls
    method = make(config.method.options, matchers, len(track.training), options.batch)
    for network in method.auxiliary.values():
        network.to(accelerator.device)
    n, size = len(track.training), options.batch
    order = np.random.default_rng(0).permutation(n)
    held = [
        track.training.batch(order[first : first + size]).to(accelerator.device)
        for first in range(0, min(n, options.held * size), size)
    ]

    def one_pass() -> object:
        scorer = TrainingSetScorer(track.training, size, accelerator.device, 0, 0)
        return method.estimate(scorer)

    def bare() -> None:
        with evaluation_mode(matchers[0]), torch.inference_mode():
            for step in range(round(n / size)):
                batch = held[step % len(held)]
                matchers[0](batch.images, batch.texts)

    def released() -> None:
        with released_formula():
            one_pass()

    load_kernels(options.device)
    turns = [[stopwatch(call) for call in (one_pass, bare, released)] for _ in range(options.turns)]
    ours, least, plain = (statistics.median(column) for column in zip(*turns, strict=True))
    return {
        **headline(
            *("division", f"pass over {n:,} pairs, B {size}, D {options.dim}", n / ours, n / plain),
            "released formula",
            unit="pairs/s",
            floor=Floor(n / least, "bare forward scores of as many pairs"),
            larger_is_better=True,
        ),
        "device": options.device,
        "pairs": n,
        "seconds": f"{ours:.2f}",
        "bare_seconds": f"{least:.2f}",
        "released_seconds": f"{plain:.2f}",
        "minutes_for_f30k": f"{145_000 / n * ours / 60:.1f}",
        "turns": options.turns,
        **machine_description(),
    }


def main() -> int:
    """Measure and write the row."""
    parser = benchmark_parser(__doc__, "division.csv", devices=True)
    add_sizes(parser, 2560)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--held", type=int, default=8, help="batches held for the bare scores")
    parser.add_argument("--folder", type=Path, help="where to put the files; by default the temporary folder")
    options = parsed(parser)
    logging.getLogger("robustcmr").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        rows = [measure(options, Path(place))]
    publish(rows, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
