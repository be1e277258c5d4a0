"""Problems of what a method returns, shared by the rules of both tracks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor

from robustcmr.testing.report import NotApplicable, array_of
from robustcmr.testing.trial import MethodCase, Trial, same_weights
from robustcmr.training.batches import step_ids
from robustcmr.types import IntArray, StepResult

_ROUNDS = 8  # over the pairs of the first epoch, in which the loss must fall


def ids_problem(ids: object, n_pairs: int) -> str | None:
    """Return the problem with the pair ids of a group, or None."""
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or ids.dtype != np.int64:
        return f"as {array_of(ids)}"
    if ids.size and (ids.min() < 0 or ids.max() >= n_pairs):
        return f"with ids {ids.min()}..{ids.max()} for {n_pairs} pairs"
    return None


def estimate_problems(found: object, cls: type, kinds: Mapping[str, type[Any]], n_pairs: int) -> list[str]:
    """Return problems with the type of an estimate and of its columns, a type by name."""
    if not isinstance(found, cls):
        return [f"that is a {type(found).__name__}"]
    problems = []
    for name, kind in kinds.items():
        column = getattr(found, name)
        shape, of = getattr(column, "shape", "?"), getattr(column, "dtype", type(column).__name__)
        if not isinstance(column, np.ndarray) or shape != (n_pairs,) or not np.issubdtype(column.dtype, kind):
            problems.append(f"whose {name} has shape {shape} of {of} for {n_pairs} pairs")
    return problems


def step_problem(result: object) -> str | None:
    """Return the problem with the outcome of a step, or None."""
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


def training_problem(trial: Trial, chosen: Mapping[str, IntArray]) -> str | None:
    """Return the problem in a step on some pairs, or None."""
    try:
        result = trial.method.training_step(trial.batches_of(chosen))
        problem = step_problem(result)
        if problem is None:
            trial.learn(result)
    except Exception as error:  # whatever third-party code raises is to be reported
        return f"raised {type(error).__name__}: {error}"
    if problem is None and not all(p.isfinite().all() for m in trial.matchers for p in m.parameters()):
        return "made a weight of a matcher NaN or infinite"
    return problem


def same_pairs_problems(case: MethodCase, pairs: IntArray, what: str) -> Iterator[str]:
    """Yield the first problem of a training in which every group consists of the same pairs."""
    trial = case.start()
    for plan in trial.planned_epochs():
        problem = training_problem(trial, {name: pairs for name, ids in plan.groups.items() if len(ids)})
        if problem is not None:
            yield f"with {what} in epoch {trial.epoch}, training_step {problem}"
            return


def learning_problems(
    case: MethodCase, measures: Mapping[str, Callable[[Trial], float | None]]
) -> Iterator[str]:
    """Yield the loss, if it does not fall, and the measures that do not grow in rounds of the first epoch.

    The key of a measure is the text before its value; a value of None is unknown.
    """
    trial = case.start()
    plan = trial.begin_epoch()
    before, losses = {text: measure(trial) for text, measure in measures.items()}, []
    trial.train()
    for round_ in range(_ROUNDS):
        steps = step_ids(plan, case.batch_size, round_, 0)
        results = [trial.take_step(trial.batches_of(step)) for step in steps]
        losses.append(fmean(float(result.loss.detach()) for result in results))
    where = f"over {_ROUNDS} rounds of the first epoch"
    if not losses[-1] < losses[0]:
        yield f"{where} the loss went from {losses[0]:.4g} to {losses[-1]:.4g}"
    for text, measure in measures.items():
        first, last = before[text], measure(trial)
        if first is not None and last is not None and not last > first:
            yield f"{where}, {text} {first:.3g} at first and {last:.3g} at the end"


def estimates_problems(case: MethodCase, problems: Callable[[object], list[str]]) -> Iterator[str]:
    """Yield problems with the estimates of a training: those of its plans, and those of ``estimate``."""
    trial, given = case.start(), False
    while trial.epoch < case.epochs:
        where, estimate = f"plan_epoch({trial.epoch})", trial.begin_epoch().estimate
        if estimate is not None:
            given = True
            yield from (f"{where} gave an estimate {problem}" for problem in problems(estimate))
        trial.finish_epoch()
        where, before = f"estimate after epoch {trial.epoch - 1}", trial.weights()
        estimate = trial.method.estimate(trial.scorer())
        if not same_weights(before, trial.weights()):
            yield f"{where} changed weights"
        if estimate is not None:
            given, found = True, problems(estimate)
            yield from (f"{where} gave an estimate {problem}" for problem in found)
            if found:
                return
    if not given:
        raise NotApplicable("the method gives no estimate")
