"""One training step and one epoch of hinge and of L2RM at the published sizes, through the real trainer.

    python scripts/benchmarks/steps.py
    python scripts/benchmarks/steps.py --device cuda --pairs 20000

B 128, R 36, F 2,048, D 1,024, captions of 12 words on average and 32 at most, 40% mismatched; features and
captions are random and lie in files as Flickr30K's do. The reference of the hinge is the same training with
the released formula in plain autograd; that of L2RM is our hinge on as many pairs. As nothing can be learned
from noise, L2RM's beliefs are set after its division pass: 40% of the pairs are suspected. A step lasts from
one call of the method to the next; an epoch begins with its plan, for L2RM a pass over all pairs, and ends
before anything is saved or measured. Trainings are run turn by turn.
"""

from __future__ import annotations

import dataclasses
import logging
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from common import (
    Floor,
    arithmetic_floor,
    benchmark_parser,
    headline,
    machine_description,
    memory_floor,
    parsed,
    publish,
    sum_of_floors,
    wait_for_device,
)
from random_pairs import add_sizes, settings, write_folder
from released import released_formula
from rich.console import Console

from robustcmr.config.resolve import RunConfig, resolve
from robustcmr.jobs.open import build_matchers
from robustcmr.methods.base import Scorer
from robustcmr.methods.l2rm import L2RM
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.build import build_track
from robustcmr.training.devices import build_accelerator
from robustcmr.training.loop import Trainer
from robustcmr.training.seeds import seed_everything
from robustcmr.transport import pair_scores
from robustcmr.types import EpochPlan

F30K_PAIRS = 145_000
SUSPECTED = 0.4
METHODS: dict[str, dict[str, Any]] = {
    "hinge": {"name": "hinge", "margin": 0.05, "switch_epoch": 0},
    "l2rm": {"name": "l2rm", "warmup_epochs": 0, "agreement_epoch": 0},
}


class SuspectingL2RM(L2RM):
    """L2RM that suspects a fixed share of the pairs, whatever its division says."""

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """The usual plan, then the beliefs are set."""
        plan = super().plan_epoch(epoch, scorer)
        generator = torch.Generator().manual_seed(0)
        self.is_clean = torch.rand(self.n_pairs, generator=generator) >= SUSPECTED
        self.clean_probability = torch.where(self.is_clean, 0.95, 0.05)
        return plan


class Stopwatch:
    """Seconds by name, of calls in the main thread."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.stopped = False

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, timed; what runs without gradients is filed as the teacher's."""

        @wraps(call)
        def timed_call(*given: Any, **named: Any) -> Any:
            if self.stopped:
                return call(*given, **named)
            wait_for_device()
            start = time.perf_counter()
            answer = call(*given, **named)
            wait_for_device()
            key = name if torch.is_grad_enabled() or name not in ("encode", "score") else f"teacher_{name}"
            self.seconds[key] = self.seconds.get(key, 0.0) + time.perf_counter() - start
            return answer

        return timed_call


@dataclasses.dataclass(frozen=True)
class Measured:
    """One epoch.

    Attributes:
        plan: seconds before the first step.
        steps: seconds of each step but the last, whose end is not seen.
        epoch: seconds of all.
        parts: seconds a step by part.
        pairs: how many were trained on.
        words: real words a caption, on average.
        parameters: numbers that are trained.
    """

    plan: float
    steps: list[float]
    epoch: float
    parts: dict[str, float]
    pairs: int
    words: float
    parameters: int


class UnsavedTrainer(Trainer):
    """Notes when the epoch was over in place of saving, and stops a watch."""

    over: float | None = None
    watch: Stopwatch

    def save(self) -> None:
        """Write nothing."""
        wait_for_device()
        if self.over is None:
            self.over = time.perf_counter()
            self.watch.stopped = True


@contextmanager
def timed_scoring(kind: type, watch: Stopwatch) -> Iterator[None]:
    """Time encoding and scoring of all matchers of a class, copies included."""
    names = {"encode_images": "encode", "encode_texts": "encode", "score": "score"}
    own = {name: name in vars(kind) for name in names}
    usual = {name: getattr(kind, name) for name in names}
    for name, part in names.items():
        setattr(kind, name, watch.around(part, usual[name]))
    try:
        yield
    finally:
        for name in names:
            if own[name]:
                setattr(kind, name, usual[name])
            else:
                delattr(kind, name)


def one_epoch(config: RunConfig, folder: Path) -> Measured:
    """Train one epoch from fresh weights."""
    training = config.settings.training
    accelerator = build_accelerator(training.device, training.precision)
    track = build_track(config)
    seed_everything(config.settings.seed)
    matchers = build_matchers(config, track, accelerator)
    make: Callable[..., Any] = SuspectingL2RM if config.method.cls is L2RM else config.method.cls
    method = make(config.method.options, matchers, len(track.training), training.batch_size)
    for network in method.auxiliary.values():
        network.to(accelerator.device)
    run = RunFolder(folder)
    run.path.mkdir(parents=True, exist_ok=True)
    trainer = UnsavedTrainer(
        config.settings, track, matchers, method, accelerator, run, Console(file=sys.stderr, quiet=True)
    )
    watch = trainer.watch = Stopwatch()
    begins: list[float] = []
    step, planning = method.training_step, Stopwatch()
    seen: list[dict[str, Any]] = []

    def noted_step(batches: Any) -> Any:
        wait_for_device()
        if not begins:
            watch.seconds.clear()  # what the plan took is no part of a step
        begins.append(time.perf_counter())
        return watch.around("forward", step)(batches)

    method.training_step = noted_step
    method.plan_epoch = planning.around("plan", method.plan_epoch)
    accelerator.backward = watch.around("backward", accelerator.backward)
    trainer.optimiser.step = watch.around("optimiser", trainer.optimiser.step)
    with timed_scoring(type(accelerator.unwrap_model(matchers[0])), watch):
        start = time.perf_counter()
        trainer.fit(lambda row: seen.append(dict(row)))
    if trainer.over is None:
        raise RuntimeError("the epoch did not end")
    epoch = trainer.over - start
    parts = {name: seconds / len(begins) for name, seconds in watch.seconds.items()}
    parts["loss"] = parts.pop("forward") - sum(
        parts.get(name, 0.0) for name in ("encode", "score", "teacher_encode", "teacher_score")
    )
    steps = [later - before for before, later in pairwise(begins)]
    parts["data_and_rest"] = statistics.mean(steps) - sum(parts.values())
    lengths = track.training.captions.lengths  # type: ignore[attr-defined]  # the pairs track's
    return Measured(
        planning.seconds["plan"],
        steps,
        epoch,
        parts,
        int(seen[0]["pairs_seen"]),
        float(lengths.mean()),
        sum(p.numel() for group in method.parameter_groups() for p in group["params"]),
    )


def step_floor(
    options: Namespace,
    words: float,
    parameters: int,
    teacher: bool,
    dtype: torch.dtype = torch.float32,
) -> Floor:
    """Seconds of a step's matrix products, and of the optimiser's reading and writing.

    Inputs need no gradient, so the first layers go back once and all others twice.

    Args:
        options: sizes.
        words: real words a caption, on average.
        parameters: numbers that are trained.
        teacher: whether a second matcher encodes and scores without gradients.
        dtype: of the products.
    """
    B, R, F, D = options.batch, options.regions, options.width, options.dim
    hidden, word_dim = D // 2, 300
    first_layers = 2.0 * B * R * F * (D + hidden)
    others = 2.0 * B * R * hidden * D
    gru = 2 * 2.0 * B * words * 3 * D * (word_dim + D)
    scores = 2.0 * B * B * R * words * D
    forward = first_layers + others + gru + scores
    flop = forward * (2 if teacher else 1) + first_layers + 2 * (others + gru + scores)
    return sum_of_floors(
        arithmetic_floor(flop, options.device, dtype), memory_floor(28.0 * parameters, options.device)
    )


def load_kernels(device: str) -> None:
    """Have what scores be compiled and loaded before anything is timed."""
    sides = [torch.randn(4, 3, 8, device=device, requires_grad=True) for _ in range(2)]
    weights = torch.full((4, 3), 1 / 3, device=device)
    pair_scores(*sides, weights, weights, smoothing=0.05, iterations=3).sum().backward()


def measure(options: Namespace) -> list[dict[str, object]]:
    """Rows of all trainings."""
    load_kernels(options.device)
    found: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        root = Path(place) / "data"
        root.mkdir()
        write_folder(root, options)
        runs = {
            "released formula, hinge": ("hinge", True),
            "hinge": ("hinge", False),
            "l2rm": ("l2rm", False),
        }
        for turn in range(options.turns):
            for name, (method, plain) in runs.items():
                config = resolve(settings(root, options, METHODS[method]))
                with ExitStack() as stack:
                    stack.enter_context(released_formula() if plain else nullcontext())
                    found.setdefault(name, []).append(one_epoch(config, Path(place) / f"run{turn}{name}"))
                sys.stderr.write(f"turn {turn + 1}, {name}: {found[name][-1].epoch:.1f} s\n")
    step = {name: statistics.median(s for one in all_ for s in one.steps) for name, all_ in found.items()}
    epoch = {name: statistics.median(one.epoch for one in all_) for name, all_ in found.items()}
    one = found["hinge"][0]
    rate = {name: one.pairs / seconds for name, seconds in epoch.items()}
    sizes = (
        f"B {options.batch}, R {options.regions}, F {options.width}, D {options.dim}, W to {options.words}"
    )
    floors = {name: step_floor(options, one.words, one.parameters, name == "l2rm") for name in found}
    references = {"hinge": ("released formula, hinge", "released formula"), "l2rm": ("hinge", "our hinge")}
    rows: list[dict[str, object]] = []
    for name, (reference, said) in references.items():
        fronts = [
            headline("steps", f"{name} step, {sizes}", step[name], step[reference], said, floor=floors[name]),
            headline(
                *("steps", f"{name} epoch of {one.pairs:,} pairs", rate[name], rate[reference], said),
                unit="pairs/s",
                floor=Floor(options.batch / floors[name].value, "steps at their floor, and no plan"),
                larger_is_better=True,
            ),
        ]
        plan = statistics.median(m.plan for m in found[name])
        parts = found[name][-1].parts
        details = {
            "method": name,
            "device": options.device,
            "pairs": one.pairs,
            "mean_words": round(one.words, 1),
            "seconds_a_step": f"{step[name]:.4f}",
            "seconds_an_epoch": f"{epoch[name]:.2f}",
            "seconds_of_the_plan": f"{plan:.2f}",
            "hours_an_epoch_of_f30k": f"{F30K_PAIRS / rate[name] / 3600:.2f}",
            **{f"{part}_seconds": f"{seconds:.4f}" for part, seconds in sorted(parts.items())},
            "turns": options.turns,
            **machine_description(),
        }
        rows += [{**front, **details} for front in fronts]
    return rows


def main() -> int:
    """Measure and write the rows."""
    parser = benchmark_parser(__doc__, "steps.csv", devices=True)
    add_sizes(parser, 1920)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="where to put the files; by default the temporary folder")
    options = parsed(parser)
    logging.getLogger("robustcmr").setLevel(logging.WARNING)
    rows = measure(options)
    publish(rows, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
