"""Rules for methods for noisy class labels: learning, batches of one class, and estimates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

import numpy as np
from torch.nn import functional as F

from robustcmr.testing.method_findings import (
    estimate_problems,
    estimates_problems,
    learning_problems,
    same_pairs_problems,
    step_problem,
)
from robustcmr.testing.samples import N_CLASSES, SampleLabels
from robustcmr.testing.trial import MethodCase, Trial
from robustcmr.types import IntArray, LabelEstimate


def learning(case: MethodCase) -> Iterator[str]:
    """On an easy problem, the loss of the first epoch falls, and classes separate and are recognised."""
    yield from learning_problems(
        case,
        {
            "images and texts of one given class were closer than others by": _separation,
            "the share of pairs estimated to be of the given class was": _recognised,
        },
    )


def _separation(trial: Trial) -> float:
    """Return the mean cosine of images and texts of the same given class minus that of others."""
    gaps = []
    for matcher in trial.matchers:
        found = trial.scorer().vectors(matcher)
        cosines = F.normalize(found.images, dim=1) @ F.normalize(found.texts, dim=1).T  # (N, N)
        same = found.labels[:, :1] == found.labels[:, -1]
        gaps.append(float(cosines[same].mean() - cosines[~same].mean()))
    return fmean(gaps)


def _recognised(trial: Trial) -> float | None:
    """Return the share of pairs estimated to be of the class that their image was given."""
    estimate = trial.method.estimate(trial.scorer())
    if not isinstance(estimate, LabelEstimate):
        return None
    return float(np.mean(estimate.corrected == _given_labels(trial)))


def _given_labels(trial: Trial) -> IntArray:
    """Return the class that the image of each pair was given, (N,)."""
    labels: IntArray = trial.scorer().vectors(trial.matchers[0]).labels[:, 0].numpy()
    return labels


def one_class(case: MethodCase) -> Iterator[str]:
    """A step accepts a batch whose pairs were all given the same class."""
    given = _given_labels(case.start())
    alike = np.flatnonzero(given == np.bincount(given).argmax())[: case.batch_size]
    yield from same_pairs_problems(case, alike, f"{len(alike)} pairs of one class")


def two_labels(case: MethodCase) -> Iterator[str]:
    """Images and texts may carry a label each, (B, 2): steps and estimates are as sound as with one."""
    case = replace(case, pairs=SampleLabels(columns=2))
    trial = case.start()
    for batches in trial.remaining():
        result = trial.method.training_step(batches)
        if (problem := step_problem(result)) is not None:
            yield f"with two labels a pair, training_step in epoch {trial.epoch} {problem}"
            return
        trial.learn(result)
    estimate = trial.method.estimate(trial.scorer())
    if estimate is not None:
        found = _label_estimate_problems(estimate, len(case.pairs))
        yield from (f"with two labels a pair, estimate gave an estimate {what}" for what in found)


def estimates(case: MethodCase) -> Iterator[str]:
    """Estimating gives None or a LabelEstimate of all N pairs, and changes no weight."""
    yield from estimates_problems(case, lambda found: _label_estimate_problems(found, len(case.pairs)))


def _label_estimate_problems(found: object, n_pairs: int) -> list[str]:
    kinds = {"corrected": np.int64, "confidence": np.floating, "evidence": np.floating}
    problems = estimate_problems(found, LabelEstimate, kinds, n_pairs)
    if problems or not isinstance(found, LabelEstimate):
        return problems
    classes, confidence = found.corrected, found.confidence
    if classes.min() < 0 or classes.max() >= N_CLASSES:
        problems.append(
            f"whose corrected classes are {classes.min()}..{classes.max()} for {N_CLASSES} classes"
        )
    if not ((confidence >= 0) & (confidence <= 1)).all():
        problems.append("whose confidence leaves 0..1 or is NaN")
    if not np.isfinite(found.evidence).all():
        problems.append("whose evidence is not finite")
    return problems
