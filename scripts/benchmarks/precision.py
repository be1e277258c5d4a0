"""bf16 against fp32: how far scores move, how long a step takes, and what a short training reaches.

    python scripts/benchmarks/precision.py
    python scripts/benchmarks/precision.py --device cuda --precision fp16

Scores are those of fresh OMIT weights on random features, in evaluation; steps those of the hinge at the
published sizes (see steps.py); the training is that of the embedded scenes for a few epochs, the same seeds
in both, of which dev recall is reported. Transport runs in float32 in either.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    benchmark_parser,
    headline,
    machine_description,
    parsed,
    publish,
)
from random_pairs import add_sizes, settings, write_folder
from rich.console import Console
from steps import METHODS, load_kernels, one_epoch, step_floor

from robustcmr.config.resolve import resolve
from robustcmr.evaluation.scoring import evaluation_mode
from robustcmr.jobs.open import build_matchers
from robustcmr.jobs.train import train
from robustcmr.tracks.build import build_track
from robustcmr.training.devices import build_accelerator
from robustcmr.training.seeds import seed_everything

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def scores(options: Namespace, root: Path, precision: str) -> torch.Tensor:
    """(B, B) scores of the first batch by fresh weights."""
    config = resolve(settings(root, options, METHODS["hinge"], precision))
    accelerator = build_accelerator(options.device, precision)
    track = build_track(config)
    seed_everything(0)
    (matcher,) = build_matchers(config, track, accelerator)
    batch = track.training.batch(np.arange(options.batch, dtype=np.int64)).to(accelerator.device)
    with evaluation_mode(matcher), torch.inference_mode():
        return matcher(batch.images, batch.texts).float().cpu()


def trained(options: Namespace, place: Path, precision: str, seed: int) -> dict[str, Any]:
    """Results of a short training on scenes."""
    config = resolve(
        {
            "seed": seed,
            "data": {"name": "scenes", "n_train": options.scenes},
            "method": {"name": "infonce"},
            "training": {"epochs": options.epochs, "device": options.device, "precision": precision},
            "evaluation": {"test": None},
        }
    )
    run = train(config, place / f"{precision}-{seed}", console=Console(file=sys.stderr, quiet=True))
    return run.read_results() or {}


def measured(options: Namespace, place: Path) -> Iterator[dict[str, object]]:
    """The rows."""
    root, other = place / "data", options.precision
    root.mkdir()
    write_folder(root, options)
    exact, rounded = (scores(options, root, precision) for precision in ("fp32", other))
    difference = (rounded - exact).abs()
    largest = headline(
        *("precision", f"largest score difference, {other}", float(difference.max()), None),
        "fp32",
        unit="of a cosine",
    )
    spread = {"mean_difference": f"{difference.mean():.1e}", "score_deviation": f"{exact.std():.3f}"}
    yield {**largest, **spread}
    load_kernels(options.device)
    steps: dict[str, list[float]] = {"fp32": [], other: []}
    for turn in range(options.turns):
        for precision, seconds in steps.items():
            config = resolve(settings(root, options, METHODS["hinge"], precision))
            one = one_epoch(config, place / f"step-{precision}{turn}")
            seconds += one.steps
    ours, reference = (statistics.median(steps[name]) for name in (other, "fp32"))
    floor = step_floor(options, one.words, one.parameters, False, DTYPES[other])
    sizes = f"B {options.batch}, R {options.regions}, F {options.width}, D {options.dim}"
    yield headline("precision", f"hinge step in {other}, {sizes}", ours, reference, "fp32", floor=floor)
    found = {
        precision: [trained(options, place, precision, seed) for seed in range(options.seeds)]
        for precision in ("fp32", other)
    }
    rsums = {name: [run["splits"]["dev"]["rsum"] for run in runs] for name, runs in found.items()}
    mean = {name: statistics.mean(values) for name, values in rsums.items()}
    what = f"dev rSum on scenes, {options.epochs} epochs, {other}"
    yield {
        **headline(
            *("precision", what, mean[other], mean["fp32"]),
            "fp32",
            unit="rSum",
            larger_is_better=True,
        ),
        "by_seed": " ".join(f"{value:.1f}" for value in rsums[other]),
        "fp32_by_seed": " ".join(f"{value:.1f}" for value in rsums["fp32"]),
        "seconds": " ".join(f"{run['seconds']:.0f}" for run in found[other]),
        "fp32_seconds": " ".join(f"{run['seconds']:.0f}" for run in found["fp32"]),
    }


def main() -> int:
    """Measure and write the rows."""
    parser = benchmark_parser(__doc__, "precision.csv", devices=True)
    add_sizes(parser, 1280)
    parser.add_argument("--precision", choices=list(DTYPES), default="bf16")
    parser.add_argument("--turns", type=int, default=1, help="of the steps")
    parser.add_argument("--epochs", type=int, default=4, help="of the training on scenes")
    parser.add_argument("--scenes", type=int, default=1500, help="scenes to train on")
    parser.add_argument("--seeds", type=int, default=2)
    options = parsed(parser)
    logging.getLogger("robustcmr").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as place:
        details = {"device": options.device, **machine_description()}
        rows = [{**row, **details} for row in measured(options, Path(place))]
    publish(rows, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
