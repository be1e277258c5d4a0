"""Rules for methods of both tracks: building, planning, stepping, and resuming."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor, nn

from robustcmr.testing.method_findings import ids_problem, step_problem, training_problem
from robustcmr.testing.report import NotApplicable, group_problems
from robustcmr.testing.trial import MethodCase, same_weights
from robustcmr.types import EpochPlan

RESERVED = frozenset(
    {
        *("loss", "pairs", "steps", "epoch", "lr", "pairs_seen", "seconds", "dev", "test"),
        *("division", "rematch", "correction", "confusion", "labels"),
    }
)
"""Names that the trainer writes beside a method's metrics."""


def builds(case: MethodCase) -> Iterator[str]:
    """It is built from its config, n_matchers >= 1 matchers, and the sizes of the data."""
    count = case.cls.n_matchers
    if not isinstance(count, int) or count < 1:
        yield f"n_matchers is {count!r}"
        return
    method = case.start().method
    given = {"n_pairs": len(case.pairs), "batch_size": case.batch_size, **case.pairs.sizes}
    for name, value in given.items():
        if getattr(method, name, value) != value:
            yield f"it was built with {name}={value} but has {name}={getattr(method, name)}"


def auxiliary(case: MethodCase) -> Iterator[str]:
    """Auxiliary networks are always the same modules; their names suit a file and are not a matcher's."""
    method = case.start().method
    found = method.auxiliary
    if not isinstance(found, Mapping):
        yield f"auxiliary is a {type(found).__name__}, not a mapping"
        return
    if not found:
        raise NotApplicable("the method has no auxiliary networks")
    for name, network in found.items():
        if not isinstance(network, nn.Module):
            yield f"auxiliary[{name!r}] is a {type(network).__name__}"
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            yield f"auxiliary has the name {name!r}, and networks are saved as NAME.safetensors"
        elif re.fullmatch(r"matcher_\d+", name):
            yield f"auxiliary has the name {name!r}, which is that of a matcher"
    again = method.auxiliary
    if {name: id(network) for name, network in again.items()} != {n: id(m) for n, m in found.items()}:
        yield "auxiliary gave other networks at the second call"


def parameter_groups(case: MethodCase) -> Iterator[str]:
    """The parameter groups hold all that is trainable once, with the lr_factor that matchers ask for."""
    trial = case.start()
    groups = trial.method.parameter_groups()
    found = {f"{m}.{n}": p for m, net in trial.modules.items() for n, p in net.named_parameters()}
    learnt = {name: p for name, p in found.items() if p.requires_grad}
    yield from group_problems(groups, learnt, "these networks")
    wanted = {
        id(p): g["lr_factor"] for m in trial.matchers for g in m.parameter_groups() for p in g["params"]
    }
    given = {id(p): g.get("lr_factor", 1.0) for g in groups for p in g["params"]}
    shared = wanted.keys() & given.keys()
    slow = [name for name, p in found.items() if id(p) in shared and given[id(p)] != wanted[id(p)]]
    if slow:
        yield f"the groups give {slow[0]} another lr_factor than matcher.parameter_groups() does"


def plans(case: MethodCase) -> Iterator[str]:
    """Every epoch's plan has groups of pair ids, int64 in 0..N-1, at least one of them not empty.

    ``image_from`` has one such id a pair.
    Only a method with ``restarts`` plans to restart.
    """
    trial = case.start()
    while trial.epoch < case.epochs:
        where, plan = f"plan_epoch({trial.epoch})", trial.method.plan_epoch(trial.epoch, trial.scorer())
        if not isinstance(plan, EpochPlan):
            yield f"{where} returned a {type(plan).__name__}"
            return
        if plan.restart and not trial.method.restarts:
            yield f"{where} restarts the training, but the method's restarts is false"
            return
        trial.follow(plan)
        problems = [
            f"{where} gave group {name!r} {problem}"
            for name, ids in plan.groups.items()
            if (problem := ids_problem(ids, len(case.pairs))) is not None
        ]
        if not any(len(ids) for ids in plan.groups.values()):
            problems.append(f"{where} gave no pair in any group")
        if plan.image_from is not None:
            if (problem := ids_problem(plan.image_from, len(case.pairs))) is not None:
                problems.append(f"{where} gave image_from {problem}")
            elif len(plan.image_from) != len(case.pairs):
                problems.append(
                    f"{where} gave image_from for {len(plan.image_from)} of {len(case.pairs)} pairs"
                )
        yield from problems
        if problems:
            return
        try:
            trial.finish_epoch()
        except Exception:  # problems of steps are reported by the check of steps
            return


def steps(case: MethodCase) -> Iterator[str]:
    """Every step returns a finite scalar loss, whose gradient reaches every matcher during training."""
    trial = case.start()
    reached = set[int]()
    for batches in trial.remaining():
        result = trial.method.training_step(batches)
        if (problem := step_problem(result)) is not None:
            yield f"training_step in epoch {trial.epoch}, step {trial.step}, {problem}"
            return
        trial.learn(result)
        for number, matcher in enumerate(trial.matchers):
            if any(p.grad is not None and p.grad.any() for p in matcher.parameters()):
                reached.add(number)
    for number in set(range(len(trial.matchers))) - reached:
        yield f"over {case.epochs} epochs no gradient reached matcher_{number}"


def metrics(case: MethodCase) -> Iterator[str]:
    """Metrics are finite detached scalars under names that the trainer does not use itself."""
    trial = case.start()
    found: dict[str, None] = {}  # in order, each once
    while trial.epoch < case.epochs:
        found |= dict.fromkeys(_metric_problems("plan_epoch", trial.begin_epoch().metrics))
        for batches in trial.batches():
            found |= dict.fromkeys(_metric_problems("training_step", trial.take_step(batches).metrics))
    yield from found


def _metric_problems(where: str, given: Mapping[str, Any]) -> Iterator[str]:
    for name, value in given.items():
        if name in RESERVED:
            yield f"{where} gave a metric called {name!r}, a name of the trainer's own"
        if isinstance(value, Tensor) and value.requires_grad:
            yield f"{where} gave the metric {name!r} with its graph, which keeps the memory of every step"
        elif not isinstance(value, Tensor | float | int) or (
            isinstance(value, Tensor) and value.numel() != 1
        ):
            yield f"{where} gave the metric {name!r} as {type(value).__name__}, not one number"
        elif not math.isfinite(float(value)):
            yield f"{where} gave the metric {name!r} as {float(value)}"


def small_batches(case: MethodCase) -> Iterator[str]:
    """A step accepts groups of one or two pairs, and a missing group, which was empty."""
    trial = case.start()
    for plan in trial.planned_epochs():
        groups = {name: ids for name, ids in plan.groups.items() if len(ids)}
        tried = {
            "one pair a group": {name: ids[:1] for name, ids in groups.items()},
            "two pairs a group": {name: ids[:2] for name, ids in groups.items()},
        }
        for absent in groups if len(groups) > 1 else ():
            rest = {name: ids[: case.batch_size] for name, ids in groups.items() if name != absent}
            tried[f"group {absent!r} missing"] = rest
        for what, chosen in tried.items():
            if (problem := training_problem(trial, chosen)) is not None:
                yield f"with {what} in epoch {trial.epoch}, training_step {problem}"
                return


def modes(case: MethodCase) -> Iterator[str]:
    """Planning, stepping and estimating leave every network in its mode."""
    trial = case.start()
    while trial.epoch < case.epochs:
        for batches in trial.batches():
            before = trial.modes()
            result = trial.method.training_step(batches)
            if trial.modes() != before:
                yield f"training_step in epoch {trial.epoch} switched a network to another mode"
                return
            trial.learn(result)
        before = trial.modes()
        trial.method.estimate(trial.scorer())
        if trial.epoch < case.epochs:
            trial.begin_epoch()
        if trial.modes() != before:
            yield f"plan_epoch({trial.epoch}) or estimate switched a network to another mode"
            return


def repeatability(case: MethodCase) -> Iterator[str]:
    """Two trainings with the same seed give the same weights to the bit."""
    if not same_weights(case.start().finish(), case.start().finish()):
        yield f"two trainings of {case.epochs} epochs from the same seed ended with different weights"


def resuming(case: MethodCase) -> Iterator[str]:
    """A training that is stopped, saved and resumed gives the same weights to the bit as one that is not."""
    trial = case.start()
    places = {(min(1, case.epochs - 1), 1), (case.epochs - 1, 1)}
    with TemporaryDirectory() as folder:
        saved: list[tuple[int, int]] = []
        for _ in trial.run():
            place = (trial.epoch, trial.step)
            if place in places:
                trial.save(Path(folder) / f"{place[0]}-{place[1]}")
                saved.append(place)
        for epoch, step in saved:
            resumed = case.start(seed=1)
            resumed.restore(Path(folder) / f"{epoch}-{step}")
            if not same_weights(trial.weights(), resumed.finish()):
                yield (
                    f"stopped after step {step} of epoch {epoch} and resumed, training ended with other "
                    "weights, so something is saved neither in state_dict() nor in a network"
                )
