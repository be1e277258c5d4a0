"""Rules about what a method believes, rematches, remembers and leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcmr.testing.method_rules import wrong_ids
from robustcmr.testing.report import NotApplicable
from robustcmr.testing.trial import MethodCase, Trial
from robustcmr.types import Division, Rematch


def modes(case: MethodCase) -> Iterator[str]:
    """Planning, stepping and believing leave every network in the mode it was in."""
    trial = case.start()
    while trial.epoch < case.epochs:
        for batches in trial.batches():
            before = _modes(trial)
            result = trial.method.training_step(batches)
            if _modes(trial) != before:
                yield f"training_step in epoch {trial.epoch} switched a network to another mode"
                return
            trial.learn(result)
        before = _modes(trial)
        trial.method.estimate(trial.scorer())
        if trial.epoch < case.epochs:
            trial.begin_epoch()
        if _modes(trial) != before:
            yield f"plan_epoch({trial.epoch}) or believe switched a network to another mode"
            return


def _modes(trial: Trial) -> list[bool]:
    return [module.training for network in trial.modules.values() for module in network.modules()]


def beliefs(case: MethodCase) -> Iterator[str]:
    """Asked for its belief, a method gives None or a Division of all N pairs, and stays as it is."""
    yield from told_beliefs(case, lambda found: wrong_division(found, len(case.pairs)))


def told_beliefs(case: MethodCase, wrong: Callable[[object], Iterator[str]]) -> Iterator[str]:
    """What is wrong with the beliefs of a training, those of its plans and those it is asked for.

    Args:
        case: the method.
        wrong: says what is wrong with one.
    """
    trial, told = case.start(), 0
    while trial.epoch < case.epochs:
        where, plan = f"plan_epoch({trial.epoch})", trial.begin_epoch()
        if plan.estimate is not None:
            told += 1
            yield from (f"{where} gave a belief {what}" for what in wrong(plan.estimate))
        for batches in trial.batches():
            trial.take_step(batches)
        before = _snapshot(trial)
        belief = trial.method.estimate(trial.scorer())
        if not _same_weights(before, _snapshot(trial)):
            yield f"believe after epoch {trial.epoch - 1} changed weights"
        if belief is not None:
            told += 1
            found = list(wrong(belief))
            yield from (f"believe after epoch {trial.epoch - 1} gave a belief {what}" for what in found)
            if found:
                return
    if not told:
        raise NotApplicable("the method holds no belief")


def wrong_division(found: object, n_pairs: int) -> Iterator[str]:
    """What is wrong with a division."""
    if not isinstance(found, Division):
        yield f"that is a {type(found).__name__}"
        return
    problems = [
        wrong_column("clean_probability", found.clean_probability, np.floating, n_pairs),
        wrong_column("is_clean", found.is_clean, np.bool_, n_pairs),
        wrong_column("evidence", found.evidence, np.floating, n_pairs),
    ]
    if any(problems):
        yield from filter(None, problems)
        return
    probability = found.clean_probability
    if not ((probability >= 0) & (probability <= 1)).all():
        yield "whose clean_probability leaves 0..1 or is NaN"
    elif not np.array_equal(found.is_clean, probability > found.threshold):
        yield "whose is_clean is not clean_probability > threshold"
    if not np.isfinite(found.evidence).all():
        yield "whose evidence is not finite"


def wrong_column(name: str, value: object, kind: type[Any], n_pairs: int) -> str | None:
    """What is wrong with one number a pair; None if nothing is."""
    if isinstance(value, np.ndarray) and value.shape == (n_pairs,) and np.issubdtype(value.dtype, kind):
        return None
    shape, of = getattr(value, "shape", "?"), getattr(value, "dtype", type(value).__name__)
    return f"whose {name} has shape {shape} of {of} for {n_pairs} pairs"


def rematches(case: MethodCase) -> Iterator[str]:
    """A rematch has a detached plan (n, m) >= 0 on allowed cells alone, for the pairs it names."""
    trial, told = case.start(), 0
    for result in trial.run(case.epochs):
        if result.rematch is not None:
            told += 1
            found = list(wrong_rematch(result.rematch, len(case.pairs)))
            yield from (f"training_step in epoch {trial.epoch} gave a rematch {what}" for what in found)
            if found:
                return
    if not told:
        raise NotApplicable("the method rematched nothing in the epochs tried")


def wrong_rematch(found: object, n_pairs: int) -> Iterator[str]:
    """What is wrong with a rematch."""
    if not isinstance(found, Rematch):
        yield f"that is a {type(found).__name__}"
        return
    for name in ("image_pairs", "caption_pairs"):
        problem = wrong_ids(getattr(found, name).cpu().numpy(), n_pairs)
        if problem is not None:
            yield f"whose {name} come {problem}"
    shape = (len(found.image_pairs), len(found.caption_pairs))
    for name in ("plan", "scores", "allowed"):
        value: Tensor = getattr(found, name)
        if tuple(value.shape) != shape:
            yield f"whose {name} has shape {tuple(value.shape)} for {shape[0]} images and {shape[1]} captions"
            return
        if value.requires_grad:
            yield f"whose {name} keeps its graph"
    if not (found.plan.isfinite() & (found.plan >= 0)).all():
        yield "whose plan holds a negative or non-finite mass"
    elif found.allowed.dtype != torch.bool or found.plan[~found.allowed].any():
        yield "whose plan moves mass where allowed, a bool tensor, says it may not"


def repeatability(case: MethodCase) -> Iterator[str]:
    """Two trainings of the same seed give the same weights to the bit."""
    ends = []
    for _ in range(2):
        trial = case.start()
        for _ in trial.run(case.epochs):
            pass
        ends.append(_snapshot(trial))
    if not _same_weights(*ends):
        yield f"two trainings of {case.epochs} epochs from the same seed ended with different weights"


def resuming(case: MethodCase) -> Iterator[str]:
    """A training that is stopped, saved and resumed gives the same weights to the bit as one that is not."""
    trial = case.start()
    places = {(min(1, case.epochs - 1), 1), (case.epochs - 1, 1)}
    with TemporaryDirectory() as folder:
        saved: list[tuple[int, int]] = []
        for _ in trial.run(case.epochs):
            place = (trial.epoch, trial.step)
            if place in places:
                trial.save(Path(folder) / f"{place[0]}-{place[1]}")
                saved.append(place)
        expected = _snapshot(trial)
        for epoch, step in saved:
            resumed = case.start(seed=1)
            resumed.restore(Path(folder) / f"{epoch}-{step}")
            for _ in resumed.run(case.epochs):
                pass
            if not _same_weights(expected, _snapshot(resumed)):
                yield (
                    f"stopped after step {step} of epoch {epoch} and resumed, training ended with other "
                    "weights, so something is kept neither in state_dict() nor in a network"
                )


def _snapshot(trial: Trial) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.detach().clone()
        for name, network in trial.modules.items()
        for key, value in network.state_dict().items()
    }


def _same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
