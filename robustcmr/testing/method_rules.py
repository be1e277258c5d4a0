"""Rules about how a method is built, plans and steps."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor, nn

from robustcmr.testing.report import NotApplicable
from robustcmr.testing.trial import MethodCase, Trial
from robustcmr.training.batches import step_ids
from robustcmr.types import EpochPlan, IntArray, PairBatch, StepResult

RESERVED = frozenset(
    {
        *("loss", "pairs", "steps", "epoch", "lr", "pairs_seen", "seconds", "dev", "test"),
        *("division", "rematch", "correction", "confusion", "labels"),
    }
)
"""What the trainer writes beside a method's metrics."""

Measure = Callable[[Trial], float | None]
"""What shall grow in training; None where it cannot be told."""

_LESSONS = 8  # times the first epoch's pairs are gone through where the loss shall fall


def builds(case: MethodCase) -> Iterator[str]:
    """It is built from its config, n_matchers >= 1 matchers, and what it must know of the data."""
    count = case.cls.n_matchers
    if not isinstance(count, int) or count < 1:
        yield f"n_matchers is {count!r}"
        return
    method = case.start().method
    told = {"n_pairs": len(case.pairs), "batch_size": case.batch_size, **case.pairs.sizes}
    for name, value in told.items():
        if getattr(method, name, value) != value:
            yield f"it was built with {name}={value} but says {name}={getattr(method, name)}"


def auxiliary(case: MethodCase) -> Iterator[str]:
    """Auxiliary networks are always the same modules, under names that fit a file and are no matcher's."""
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
            yield f"auxiliary has the name {name!r}, and networks are saved under NAME.safetensors"
        elif re.fullmatch(r"matcher_\d+", name):
            yield f"auxiliary has the name {name!r}, which is that of a matcher"
    again = method.auxiliary
    if {name: id(network) for name, network in again.items()} != {n: id(m) for n, m in found.items()}:
        yield "auxiliary gave other networks when it was asked again"


def parameter_groups(case: MethodCase) -> Iterator[str]:
    """The parameter groups hold all that is trainable once, with the lr_factor that matchers ask for."""
    trial = case.start()
    named = {id(p): f"{m}.{n}" for m, net in trial.modules.items() for n, p in net.named_parameters()}
    frozen = {id(p) for net in trial.modules.values() for p in net.parameters() if not p.requires_grad}
    counted: Counter[int] = Counter()
    for group in trial.method.parameter_groups():
        counted.update(id(p) for p in group["params"])
    for key, name in named.items():
        if key in frozen:
            continue
        if counted[key] != 1:
            yield f"the groups hold {name} {counted[key]} times"
    foreign = sum(key not in named or key in frozen for key in counted)
    if foreign:
        yield f"the groups hold {foreign} tensors that are no trainable parameters of these networks"
    wanted = {
        id(p): g["lr_factor"] for m in trial.matchers for g in m.parameter_groups() for p in g["params"]
    }
    given = {id(p): g.get("lr_factor", 1.0) for g in trial.method.parameter_groups() for p in g["params"]}
    slow = [named[key] for key, factor in wanted.items() if given.get(key, factor) != factor]
    if slow:
        yield f"the groups give {slow[0]} another lr_factor than matcher.parameter_groups() does"


def plans(case: MethodCase) -> Iterator[str]:
    """Every epoch's plan has groups of pair ids, int64 in 0..N-1, and at least one that is not empty."""
    trial = case.start()
    while trial.epoch < case.epochs:
        where, plan = f"plan_epoch({trial.epoch})", trial.begin_epoch()
        if not isinstance(plan, EpochPlan):
            yield f"{where} returned a {type(plan).__name__}"
            return
        found = [(name, wrong_ids(ids, len(case.pairs))) for name, ids in plan.groups.items()]
        problems = [
            f"{where} gave group {name!r} {problem}" for name, problem in found if problem is not None
        ]
        if not any(len(ids) for ids in plan.groups.values()):
            problems.append(f"{where} gave no pair in any group")
        yield from problems
        if problems:
            return
        try:
            for batches in trial.batches():
                trial.take_step(batches)
        except Exception:  # what goes wrong in a step is told by the check of steps
            return


def wrong_ids(ids: object, n_pairs: int) -> str | None:
    """What is wrong with the pair ids of a group; None if nothing is."""
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or ids.dtype != np.int64:
        return f"as {getattr(ids, 'dtype', type(ids).__name__)} of shape {getattr(ids, 'shape', '?')}"
    if ids.size and (ids.min() < 0 or ids.max() >= n_pairs):
        return f"with ids {ids.min()}..{ids.max()} for {n_pairs} pairs"
    return None


def steps(case: MethodCase) -> Iterator[str]:
    """Every step returns a finite scalar loss whose graph reaches every matcher in the course of training."""
    trial = case.start()
    reached: set[int] = set()
    while trial.epoch < case.epochs:
        for batches in trial.batches():
            result = trial.method.training_step(batches)
            problem = wrong_step(result)
            if problem is not None:
                yield f"training_step in epoch {trial.epoch}, step {trial.step}, {problem}"
                return
            trial.learn(result)
            for number, matcher in enumerate(trial.matchers):
                if any(p.grad is not None and p.grad.any() for p in matcher.parameters()):
                    reached.add(number)
    for number in range(len(trial.matchers)):
        if number not in reached:
            yield f"over {case.epochs} epochs no gradient reached matcher_{number}"


def wrong_step(result: object) -> str | None:
    """What is wrong with the outcome of a step; None if nothing is."""
    if not isinstance(result, StepResult):
        return f"returned a {type(result).__name__}, not a StepResult"
    loss = result.loss
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        return f"gave a loss of shape {tuple(getattr(loss, 'shape', '?'))}, not a scalar tensor"
    if not loss.isfinite():
        return f"gave the loss {float(loss.detach())}"
    if not loss.requires_grad:
        return "gave a loss without a graph, which cannot be minimised"
    return None


def metrics(case: MethodCase) -> Iterator[str]:
    """Metrics are finite detached scalars by names that the trainer does not use itself."""
    trial = case.start()
    found: dict[str, None] = {}
    while trial.epoch < case.epochs:
        plan = trial.begin_epoch()
        found |= dict.fromkeys(wrong_metrics("plan_epoch", plan.metrics))
        for batches in trial.batches():
            found |= dict.fromkeys(wrong_metrics("training_step", trial.take_step(batches).metrics))
    yield from found


def wrong_metrics(where: str, given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with some metrics."""
    for name, value in given.items():
        if name in RESERVED:
            yield f"{where} gave a metric called {name!r}, under which the trainer writes its own"
        if isinstance(value, Tensor) and value.requires_grad:
            yield f"{where} gave the metric {name!r} with its graph, which keeps the memory of every step"
        elif not isinstance(value, Tensor | float | int) or (
            isinstance(value, Tensor) and value.numel() != 1
        ):
            yield f"{where} gave the metric {name!r} as {type(value).__name__}, not one number"
        elif not math.isfinite(float(value)):
            yield f"{where} gave the metric {name!r} as {float(value)}"


def learning(case: MethodCase) -> Iterator[str]:
    """On an easy problem the loss of the first epoch falls, and given pairs come to score above others."""
    yield from learnt(case, {"given pairs scored above others by": _given_above_others})


def learnt(case: MethodCase, measures: Mapping[str, Measure]) -> Iterator[str]:
    """What did not become better in some rounds of the first epoch.

    Args:
        case: the method.
        measures: what shall grow, by how to say it with its value behind it.
    """
    trial = case.start()
    plan = trial.begin_epoch()
    before, losses = {said: measure(trial) for said, measure in measures.items()}, []
    for module in trial.modules.values():
        module.train()
    for lesson in range(_LESSONS):
        steps = step_ids(plan, case.batch_size, lesson, 0)
        results = [
            trial.take_step({name: case.pairs.batch(ids) for name, ids in step.items()}) for step in steps
        ]
        losses.append(fmean(float(result.loss.detach()) for result in results))
    where = f"over {_LESSONS} rounds of the first epoch"
    if not losses[-1] < losses[0]:
        yield f"{where} the loss went from {losses[0]:.4g} to {losses[-1]:.4g}"
    for said, measure in measures.items():
        first, last = before[said], measure(trial)
        if first is not None and last is not None and not last > first:
            yield f"{where}, {said} {first:.3g} at first and {last:.3g} in the end"


def _given_above_others(trial: Trial) -> float:
    """Mean score of given pairs minus that of other cells, over all matchers."""

    def above(scores: Tensor, batch: PairBatch) -> Tensor:
        others = scores.masked_fill(batch.same_image, 0.0).sum(1) / (~batch.same_image).sum(1).clamp(min=1)
        return scores.diagonal() - others

    scorer = trial.scorer()
    return fmean(float(scorer(above, matcher).mean()) for matcher in trial.matchers)


def small_batches(case: MethodCase) -> Iterator[str]:
    """A step bears groups of one or two pairs, and a group that is missing because it was empty."""
    for trial, plan in _planned(case):
        groups = {name: ids for name, ids in plan.groups.items() if len(ids)}
        tried = {
            "one pair a group": {name: ids[:1] for name, ids in groups.items()},
            "two pairs a group": {name: ids[:2] for name, ids in groups.items()},
        }
        if len(groups) > 1:
            for absent in groups:
                rest = {name: ids[: case.batch_size] for name, ids in groups.items() if name != absent}
                tried[f"group {absent!r} missing"] = rest
        for what, chosen in tried.items():
            problem = _tried_step(trial, chosen)
            if problem is not None:
                yield f"with {what} in epoch {trial.epoch}, training_step {problem}"
                return


def same_image(case: MethodCase) -> Iterator[str]:
    """A step bears a batch of which all pairs have the same image, so that there is no negative."""
    given = case.pairs.batch(np.arange(len(case.pairs), dtype=np.int64)).same_image
    alike = given[int(given.sum(1).argmax())].nonzero().squeeze(1).numpy()
    yield from bears(case, alike, f"{len(alike)} pairs of one image")


def bears(case: MethodCase, alike: IntArray, what: str) -> Iterator[str]:
    """What goes wrong, in the first epoch in which it does, when every group gives the same pairs."""
    for trial, plan in _planned(case):
        problem = _tried_step(trial, {name: alike for name, ids in plan.groups.items() if len(ids)})
        if problem is not None:
            yield f"with {what} in epoch {trial.epoch}, training_step {problem}"
            return


def _planned(case: MethodCase) -> Iterator[tuple[Trial, EpochPlan]]:
    """A trial at the beginning of every epoch, in training mode; it is trained on in between."""
    trial = case.start()
    while trial.epoch < case.epochs:
        plan = trial.begin_epoch()
        for module in trial.modules.values():
            module.train()
        yield trial, plan
        trial.step = 0
        for batches in trial.batches():
            trial.take_step(batches)


def _tried_step(trial: Trial, chosen: Mapping[str, IntArray]) -> str | None:
    """What goes wrong when some pairs are trained on; None if nothing does."""
    try:
        result = trial.method.training_step(
            {name: trial.case.pairs.batch(ids) for name, ids in chosen.items()}
        )
        problem = wrong_step(result)
        if problem is None:
            trial.learn(result)
    except Exception as error:  # what foreign code raises is what is to be reported
        return f"raised {type(error).__name__}: {error}"
    if problem is None and not all(p.isfinite().all() for m in trial.matchers for p in m.parameters()):
        return "made a weight of a matcher NaN or infinite"
    return problem
