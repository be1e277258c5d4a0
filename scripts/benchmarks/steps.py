"""A training step and epoch of hinge and of the default method at the published sizes, by the real trainer.

    python scripts/benchmarks/steps.py
    python scripts/benchmarks/steps.py --device cuda --pairs 20000

B 128, R 36, F 2,048, D 1,024, captions of 12 words on average and 32 at most, 40% mismatched; features and
captions are random and read from files laid out as Flickr30K's. The reference of hinge is the same training
with the released formula in plain autograd; that of the default method is our hinge on as many pairs. Noise
teaches nothing, so 40% of the pairs are marked as suspected after the division pass. A step lasts from one
call of the method to the next. An epoch starts with its plan, for the default method a pass over all pairs,
and ends before anything is saved or measured.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import common
import numpy as np
import torch
from rich.console import Console

from robustcmr.config.resolve import RunConfig, resolve
from robustcmr.jobs.open import build_matchers
from robustcmr.matchers import omit
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.build import build_track
from robustcmr.training.devices import build_accelerator
from robustcmr.training.loop import Trainer
from robustcmr.training.seeds import seed_everything
from robustcmr.transport import pair_scores

CAPTIONS_PER_IMAGE, VOCABULARY, F30K_PAIRS = 5, 8_000, 145_000
SUSPECTED, WORD_DIM = 0.4, 300
METHODS: dict[str, dict[str, Any]] = {
    "hinge": {"name": "hinge", "margin": 0.05, "switch_epoch": 0},
    "default": {"warmup_epochs": 0},
}
REFERENCES = {"hinge": ("released hinge", "released formula"), "default": ("hinge", "our hinge")}


def write_folder(root: Path, options: Namespace) -> float:
    """Write random features and captions of a training and a small dev split; return the mean words."""
    rng = np.random.default_rng(0)
    words = []
    for split, n_images in (("train", options.pairs // CAPTIONS_PER_IMAGE), ("dev", 8)):
        shape = (n_images, options.regions, options.width)
        features = np.lib.format.open_memmap(root / f"{split}_ims.npy", "w+", np.float32, shape)
        for start in range(0, n_images, 64):
            block = features[start : start + 64]
            block[:] = np.abs(rng.standard_normal(block.shape, dtype=np.float32))
        lengths = np.clip(rng.normal(12, 5, n_images * CAPTIONS_PER_IMAGE).round(), 3, options.words - 2)
        lengths[0] = options.words - 2  # start and end marks make it ``words``
        rows = [" ".join(f"w{word}" for word in rng.integers(0, VOCABULARY, int(n))) for n in lengths]
        (root / f"{split}_caps.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
        words.append(float(lengths.mean()) + 2)
    return words[0]


def configuration(root: Path, options: Namespace, method: str) -> RunConfig:
    """Return the configuration of one epoch of OMIT on that folder."""
    sizes = {"dim": options.dim, "word_dim": WORD_DIM, "region_hidden": options.dim // 2}
    return resolve(
        {
            "data": {"name": "precomp", "root": str(root)},
            "matcher": {"name": "omit", "partial": "none", **sizes},
            "method": METHODS[method],
            "noise": {"ratio": 0.4},
            "optim": {"name": "adam", "lr": 2e-4},
            "training": {"epochs": 1, "batch_size": options.batch, "device": options.device},
            "evaluation": {"test": None},
        }
    )


class Measured(NamedTuple):
    """Seconds of an epoch, of its plan and of each step but the last, and how many numbers are trained."""

    epoch: float
    plan: float
    steps: list[float]
    parameters: int


class UnsavedTrainer(Trainer):
    """Notes when the epoch ends instead of saving."""

    ended: float | None = None

    def save(self) -> None:
        """Write nothing."""
        common.wait_for_device()
        self.ended = self.ended or time.perf_counter()


def one_epoch(config: RunConfig, folder: Path) -> Measured:
    """Train one epoch from fresh weights."""
    accelerator = build_accelerator(config.settings.training.device, config.settings.training.precision)
    track = build_track(config)
    seed_everything(config.settings.seed)
    matchers = build_matchers(config, track.spec, accelerator)
    n_pairs = len(track.training)
    make: Callable[..., Any] = config.method.cls
    method = make(config.method.options, matchers, n_pairs, config.settings.training.batch_size)
    for network in method.auxiliary.values():
        network.to(accelerator.device)
    folder.mkdir()
    given = config.settings, track, matchers, method, accelerator, RunFolder(folder)
    trainer = UnsavedTrainer(*given, Console(file=sys.stderr, quiet=True))
    plan_epoch, training_step = method.plan_epoch, method.training_step
    begins: list[float] = []

    def plan(*given: Any) -> Any:
        found = plan_epoch(*given)
        if hasattr(method, "is_clean"):
            method.is_clean = torch.rand(n_pairs, generator=torch.Generator().manual_seed(0)) >= SUSPECTED
            method.clean_probability = torch.where(method.is_clean, 0.95, 0.05)
        return found

    def step(batches: Any) -> Any:
        common.wait_for_device()
        begins.append(time.perf_counter())
        return training_step(batches)

    method.plan_epoch, method.training_step = plan, step
    start = time.perf_counter()
    trainer.fit(lambda _: None)
    if trainer.ended is None:
        raise RuntimeError("the epoch did not end")
    steps = [later - before for before, later in pairwise(begins)]
    parameters = sum(p.numel() for group in method.parameter_groups() for p in group["params"])
    return Measured(trainer.ended - start, begins[0] - start, steps, parameters)


def step_floor(options: Namespace, words: float, parameters: int, teacher: bool) -> common.Floor:
    """Return the seconds of a step's matrix products and of the optimiser's reading and writing.

    Inputs need no gradient, so the first layers go back once and all others twice. ``words`` are those of a
    caption on average, ``parameters`` all numbers that are trained. A ``teacher`` is a second matcher that
    encodes and scores without gradients.
    """
    B, R, F, D = options.batch, options.regions, options.width, options.dim
    hidden = D // 2
    first_layers = 2.0 * B * R * F * (D + hidden)
    others = 2.0 * B * R * hidden * D
    gru = 2 * 2.0 * B * words * 3 * D * (WORD_DIM + D)
    scores = 2.0 * B * B * R * words * D
    forward = first_layers + others + gru + scores
    flop = forward * (2 if teacher else 1) + first_layers + 2 * (others + gru + scores)
    memory = common.memory_floor(28.0 * parameters, options.device)
    return common.sum_of_floors(common.arithmetic_floor(flop, options.device), memory)


def load_kernels(device: str) -> None:
    """Compile and load the scoring kernels before anything is timed."""
    sides = [torch.randn(4, 3, 8, device=device, requires_grad=True) for _ in range(2)]
    weights = torch.full((4, 3), 1 / 3, device=device)
    pair_scores(*sides, weights, weights, smoothing=0.05, iterations=3).sum().backward()


def measure(options: Namespace, folder: Path) -> list[dict[str, object]]:
    """Train all methods in turns and return the rows."""
    load_kernels(options.device)
    root = folder / "data"
    root.mkdir()
    words = write_folder(root, options)
    released = mock.patch.object(omit, "pair_scores", common.released_scores)
    found: dict[str, list[Measured]] = {}
    for turn in range(options.turns):
        for name in ("released hinge", "hinge", "default"):
            config = configuration(root, options, name.split()[-1])
            with released if name.startswith("released") else nullcontext():
                one = one_epoch(config, folder / f"{name}{turn}")
            found.setdefault(name, []).append(one)
            sys.stderr.write(f"turn {turn + 1}, {name}: {one.epoch:.1f} s\n")
    step = {name: statistics.median(s for one in turns for s in one.steps) for name, turns in found.items()}
    epoch = {name: statistics.median(one.epoch for one in turns) for name, turns in found.items()}
    B, R, F, D, W = options.batch, options.regions, options.width, options.dim, options.words
    sizes = f"B {B}, R {R}, F {F}, D {D}, W to {W}"
    pairs = options.pairs // B * B
    rate = {name: pairs / seconds for name, seconds in epoch.items()}
    rows: list[dict[str, object]] = []
    for name, (reference, words_of_it) in REFERENCES.items():
        method = configuration(root, options, name).method.name
        floor = step_floor(options, words, found["hinge"][0].parameters, name == "default")
        of_epoch = common.Floor(B / floor.value, "steps at their floor, and no plan")
        steps = (f"{method} step, {sizes}", step[name], step[reference], words_of_it)
        epochs = (f"{method} epoch of {pairs:,} pairs", rate[name], rate[reference], words_of_it)
        details = {
            "method": method,
            "device": options.device,
            "pairs": pairs,
            "mean_words": round(words, 1),
            "seconds_a_step": f"{step[name]:.4f}",
            "seconds_an_epoch": f"{epoch[name]:.2f}",
            "seconds_of_the_plan": f"{statistics.median(one.plan for one in found[name]):.2f}",
            "hours_an_epoch_of_f30k": f"{F30K_PAIRS / rate[name] / 3600:.2f}",
            "turns": options.turns,
        }
        step_row = common.headline("steps", *steps, floor=floor)
        rate_row = common.headline("steps", *epochs, unit="pairs/s", floor=of_epoch, larger_is_better=True)
        rows += [{**row, **details} for row in (step_row, rate_row)]
    return rows


def main() -> None:
    """Measure and write the rows."""
    parser = common.benchmark_parser(__doc__, "steps.csv", devices=True)
    parser.add_argument("--pairs", type=int, default=1920, help="training pairs, five an image")
    common.add_numbers(parser, batch=128, regions=36, dim=1024, turns=4)
    parser.add_argument("--width", type=int, default=2048, help="numbers a region")
    parser.add_argument("--words", type=int, default=32, help="words of the longest caption, marks included")
    parser.add_argument("--folder", type=Path, help="where to put the files; default: the temporary folder")
    options = common.parsed(parser)
    logging.getLogger("robustcmr").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = measure(options, Path(folder))
    common.publish(rows, options.output)


if __name__ == "__main__":
    main()
