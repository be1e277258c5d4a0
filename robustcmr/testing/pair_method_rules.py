"""Rules for methods for noisy correspondence: learning, estimates and rematches."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from robustcmr.testing.method_findings import (
    estimate_problems,
    estimates_problems,
    ids_problem,
    learning_problems,
    same_pairs_problems,
)
from robustcmr.testing.report import NotApplicable
from robustcmr.testing.trial import MethodCase, Trial
from robustcmr.types import Division, PairBatch, Rematch


def learning(case: MethodCase) -> Iterator[str]:
    """On an easy problem, the loss of the first epoch falls, and given pairs come to score above others."""
    yield from learning_problems(case, {"given pairs scored above others by": _given_above_others})


def _given_above_others(trial: Trial) -> float:
    """Return the mean score of given pairs minus that of other cells, over all matchers."""

    def above(scores: Tensor, batch: PairBatch) -> Tensor:
        others = scores.masked_fill(batch.same_image, 0.0).sum(1) / (~batch.same_image).sum(1).clamp(min=1)
        return scores.diagonal() - others

    scorer = trial.scorer()
    return fmean(float(scorer(above, matcher).mean()) for matcher in trial.matchers)


def same_image(case: MethodCase) -> Iterator[str]:
    """A step accepts a batch whose pairs all have the same image, so that there is no negative."""
    given = case.pairs.batch(np.arange(len(case.pairs), dtype=np.int64)).same_image
    alike = given[int(given.sum(1).argmax())].nonzero().squeeze(1).numpy()
    yield from same_pairs_problems(case, alike, f"{len(alike)} pairs of one image")


def estimates(case: MethodCase) -> Iterator[str]:
    """Estimating gives None or a Division of all N pairs, and changes no weight."""
    yield from estimates_problems(case, lambda found: _division_problems(found, len(case.pairs)))


def _division_problems(found: object, n_pairs: int) -> list[str]:
    kinds = {"clean_probability": np.floating, "is_clean": np.bool_, "evidence": np.floating}
    problems = estimate_problems(found, Division, kinds, n_pairs)
    if problems or not isinstance(found, Division):
        return problems
    probability = found.clean_probability
    if not ((probability >= 0) & (probability <= 1)).all():
        problems.append("whose clean_probability leaves 0..1 or is NaN")
    elif not np.array_equal(found.is_clean, probability > found.threshold):
        problems.append("whose is_clean is not clean_probability > threshold")
    if not np.isfinite(found.evidence).all():
        problems.append("whose evidence is not finite")
    return problems


def rematches(case: MethodCase) -> Iterator[str]:
    """A rematch has a detached plan (n, m) >= 0, positive only on allowed cells, for the pairs it names."""
    trial, given = case.start(), False
    for result in trial.run():
        if result.rematch is not None:
            given = True
            found = list(_rematch_problems(result.rematch, len(case.pairs)))
            yield from (f"training_step in epoch {trial.epoch} gave a rematch {what}" for what in found)
            if found:
                return
    if not given:
        raise NotApplicable("the method rematched nothing in these epochs")


def _rematch_problems(found: object, n_pairs: int) -> Iterator[str]:
    if not isinstance(found, Rematch):
        yield f"that is a {type(found).__name__}"
        return
    for name in ("image_pairs", "caption_pairs"):
        if (problem := ids_problem(getattr(found, name).cpu().numpy(), n_pairs)) is not None:
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
        yield "whose plan has a negative or non-finite mass"
    elif found.allowed.dtype != torch.bool or found.plan[~found.allowed].any():
        yield "whose plan has mass on cells that allowed, a bool tensor, excludes"
