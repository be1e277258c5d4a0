"""Rules of a method for noisy class labels alone: what it learns, and what it takes the classes to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

import numpy as np
from torch.nn import functional as F

from robustcmr.testing.label_samples import N_CLASSES, SampleLabels
from robustcmr.testing.method_memory import told_beliefs, wrong_column
from robustcmr.testing.method_rules import bears, learnt, wrong_step
from robustcmr.testing.trial import MethodCase, Trial
from robustcmr.types import IntArray, LabelEstimate


def learning(case: MethodCase) -> Iterator[str]:
    """On an easy problem the loss of the first epoch falls, and classes come apart and are recognised."""
    yield from learnt(
        case,
        {
            "images and texts of one given class were closer than others by": _classes_apart,
            "the share of pairs believed to be of the given class was": _recognised,
        },
    )


def _classes_apart(trial: Trial) -> float:
    """Mean cosine of images and texts of the same given class minus that of others, over all matchers."""
    return fmean(_apart(trial, number) for number in range(len(trial.matchers)))


def _apart(trial: Trial, number: int) -> float:
    found = trial.scorer().vectors(trial.matchers[number])
    cosines = F.normalize(found.images, dim=1) @ F.normalize(found.texts, dim=1).T  # (N, N)
    same = found.labels[:, :1] == found.labels[:, -1]
    return float(cosines[same].mean() - cosines[~same].mean())


def _recognised(trial: Trial) -> float | None:
    """Share of the pairs that are believed to be of the class that their image was given."""
    belief = trial.method.estimate(trial.scorer())
    if not isinstance(belief, LabelEstimate):
        return None
    return float(np.mean(belief.corrected == given_labels(trial)))


def given_labels(trial: Trial) -> IntArray:
    """(N,) the class that the image of each pair was given."""
    labels: IntArray = trial.scorer().vectors(trial.matchers[0]).labels[:, 0].numpy()
    return labels


def one_class(case: MethodCase) -> Iterator[str]:
    """A step bears a batch of which all pairs were given the same class."""
    given = given_labels(case.start())
    alike = np.flatnonzero(given == np.bincount(given).argmax())[: case.batch_size]
    yield from bears(case, alike, f"{len(alike)} pairs of one class")


def two_labels(case: MethodCase) -> Iterator[str]:
    """Images and texts may carry a label each, (B, 2): steps and beliefs are as sound as with one."""
    apart = replace(case, pairs=SampleLabels(columns=2))
    trial = apart.start()
    while trial.epoch < apart.epochs:
        for batches in trial.batches():
            result = trial.method.training_step(batches)
            problem = wrong_step(result)
            if problem is not None:
                yield f"with two labels a pair, training_step in epoch {trial.epoch} {problem}"
                return
            trial.learn(result)
    belief = trial.method.estimate(trial.scorer())
    if belief is not None:
        found = wrong_label_belief(belief, len(apart.pairs), N_CLASSES)
        yield from (f"with two labels a pair, believe gave a belief {what}" for what in found)


def beliefs(case: MethodCase) -> Iterator[str]:
    """Asked for its belief, a method gives None or a LabelEstimate of all N pairs, and stays as it is."""
    yield from told_beliefs(case, lambda found: wrong_label_belief(found, len(case.pairs), N_CLASSES))


def wrong_label_belief(found: object, n_pairs: int, n_classes: int) -> Iterator[str]:
    """What is wrong with a belief about classes."""
    if not isinstance(found, LabelEstimate):
        yield f"that is a {type(found).__name__}"
        return
    problems = [
        wrong_column("corrected", found.corrected, np.int64, n_pairs),
        wrong_column("confidence", found.confidence, np.floating, n_pairs),
        wrong_column("evidence", found.evidence, np.floating, n_pairs),
    ]
    if any(problems):
        yield from filter(None, problems)
        return
    corrected, confidence = found.corrected, found.confidence
    if corrected.min() < 0 or corrected.max() >= n_classes:
        yield f"whose corrected classes run over {corrected.min()}..{corrected.max()} for {n_classes} classes"
    if not ((confidence >= 0) & (confidence <= 1)).all():
        yield "whose confidence leaves 0..1 or is NaN"
    if not np.isfinite(found.evidence).all():
        yield "whose evidence is not finite"
