"""A training step of every method of the pairs track, beside a step of plain training (InfoNCE).

    python scripts/benchmarks/methods_cost.py
    python scripts/benchmarks/methods_cost.py --methods l2rm robust --matchers omit --turns 5

VSE-infinity (width 128) and OMIT on the embedded scenes at batches of 128, 40% of the captions
mismatched. Each method trains a few epochs by the real trainer, its lengths in epochs scaled to that, so
that the last two do what the method does most of the time. Seconds are processor time, over all threads,
so that other load matters little. A step lasts from one call of the method to the next: drawing the
batches, the loss, its gradient and the optimiser. What a method does with all pairs before an epoch is in
the columns of the epoch, which are means of the two. Plain training runs in each turn beside the methods,
and a ratio is of the same turn. A method that trains two networks takes a batch or more for each in a
step, which is what it costs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import common
from rich.console import Console

from robustcmr import plugins
from robustcmr.config.resolve import RunConfig, resolve
from robustcmr.jobs.open import build_matchers, build_method
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.build import build_track
from robustcmr.training.devices import build_accelerator
from robustcmr.training.loop import Trainer
from robustcmr.training.seeds import seed_everything

PLAIN = "infonce"
SIZES: dict[str, dict[str, Any]] = {"vse_infty": {"dim": 128}, "omit": {}}
USUAL_EPOCHS, LAST = 12, 2  # some methods divide the pairs in every other epoch


def configuration(method: str, matcher: str, options: Namespace) -> RunConfig:
    """Return the configuration of a few epochs."""
    fields = plugins.methods.load(method).Config.model_fields  # type: ignore[attr-defined]
    lengths = {
        name: round(info.default * options.epochs / USUAL_EPOCHS)
        for name, info in fields.items()
        if type(info.default) is int and "epoch" in f"{name} {info.description}"
    }
    data: dict[str, Any] = {"name": "scenes", "n_train": options.images, "n_dev": 4, "n_test": 1}
    if options.data_root is not None:
        data = {"name": "f8k", "root": str(options.data_root)}
    tree = {
        "data": data,
        "matcher": {"name": matcher, **SIZES.get(matcher, {})},
        "noise": {"ratio": 0.4},
        "training": {"epochs": options.epochs, "batch_size": options.batch, "device": "cpu"},
        "evaluation": {"test": None},
    }
    least = {name: max(1, length) for name, length in lengths.items() if fields[name].default}
    return resolve({**tree, "method": {"name": method, **least}})


class Measured(NamedTuple):
    """Seconds of processor time of an epoch, of its plan, and of each of the steps but the last."""

    epoch: float
    plan: float
    steps: list[float]
    pairs: int


class Timed:
    """When an epoch was planned, when each of its steps began, and when the last had ended."""

    def __init__(self) -> None:
        self.planned, self.ended = time.process_time(), 0.0
        self.begins: list[float] = []


class UnsavedTrainer(Trainer):
    """Notes when the steps of an epoch end instead of saving."""

    timed: list[Timed]

    def save(self) -> None:
        """Write nothing."""
        self.timed[-1].ended = self.timed[-1].ended or time.process_time()


def last_epochs(config: RunConfig, folder: Path) -> Measured:
    """Train from fresh weights and time the last epochs."""
    accelerator = build_accelerator(config.settings.training.device, config.settings.training.precision)
    track = build_track(config)
    seed_everything(config.settings.seed)
    matchers = build_matchers(config, track.spec, accelerator)
    method = build_method(config, track, matchers, accelerator)
    folder.mkdir()
    given = config.settings, track, matchers, method, accelerator, RunFolder(folder)
    trainer = UnsavedTrainer(*given, Console(file=sys.stderr, quiet=True))
    plan_epoch, training_step = method.plan_epoch, method.training_step
    trainer.timed = timed = []

    def plan(*given: Any) -> Any:
        timed.append(Timed())
        return plan_epoch(*given)

    def step(batches: Any) -> Any:
        timed[-1].begins.append(time.process_time())
        return training_step(batches)

    method.plan_epoch, method.training_step = plan, step  # type: ignore[method-assign]
    trainer.fit(lambda _: None)
    last = timed[-LAST:]
    fewest = min(len(one.begins) for one in last)
    if fewest < 2:
        raise RuntimeError(
            f"{config.method.name} took {fewest} steps an epoch, expected 2; give more --images"
        )
    return Measured(
        mean(one.ended - one.planned for one in last),
        mean(one.begins[0] - one.planned for one in last),
        [later - before for one in last for before, later in pairwise(one.begins)],
        len(track.training),
    )


def measure(options: Namespace, folder: Path) -> list[dict[str, object]]:
    """Train all methods in turns and return the rows."""
    names = options.methods or [
        name
        for name in plugins.methods.names()
        if plugins.methods.load(name).track == "pairs"  # type: ignore[attr-defined]
    ]
    rows: list[dict[str, object]] = []
    for matcher in options.matchers:
        found: dict[str, list[Measured]] = {}
        for turn in range(options.turns):
            for name in dict.fromkeys([PLAIN, *names]):
                config = configuration(name, matcher, options)
                one = last_epochs(config, folder / f"{matcher}-{name.replace(':', '-')}-{turn}")
                found.setdefault(name, []).append(one)
                sys.stderr.write(f"{matcher}, turn {turn + 1}, {name}: {median(one.steps):.3f} s a step\n")
        rows += [row(name, matcher, found[name], found[PLAIN], options) for name in found]
    return rows


def row(
    name: str, matcher: str, ours: list[Measured], plain: list[Measured], options: Namespace
) -> dict[str, object]:
    """Return the row of a method: medians over turns, and ratios of the same turn."""
    steps, beside = [median(one.steps) for one in ours], [median(one.steps) for one in plain]
    what = f"{name} step, {matcher}, B {options.batch}"
    what += "" if options.data_root is None else ", Flickr8K"
    epoch = [a.epoch / b.epoch for a, b in zip(ours, plain, strict=True)]
    return {
        **common.headline("methods_cost", what, median(steps), median(beside), "plain training, infonce"),
        "method": name,
        "matcher": matcher,
        "step_ratio": f"{median(a / b for a, b in zip(steps, beside, strict=True)):.3g}",
        "epoch_ratio": f"{median(epoch):.3g}",
        "seconds_of_the_plan": f"{median(one.plan for one in ours):.3f}",
        "pairs": ours[0].pairs,
        "epochs": options.epochs,
        "turns": options.turns,
    }


def main() -> None:
    """Measure and write the rows."""
    parser = common.benchmark_parser(__doc__, "methods_cost.csv")
    parser.add_argument("--methods", nargs="+", help="all of the pairs track by default")
    parser.add_argument("--matchers", nargs="+", default=list(SIZES))
    parser.add_argument("--data-root", type=Path, help="Flickr8K in this folder, in place of the scenes")
    common.add_numbers(parser, batch=128, images=256, epochs=4, turns=3)
    options = common.parsed(parser)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, Path(folder))
    common.publish(rows, options.output)


if __name__ == "__main__":
    main()
