"""Reports on the training pairs: the table of estimates, and whole-set rematching against the truth."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from robustcmr.config.schema import EvaluationOptions
from robustcmr.data.base import PairsSplit
from robustcmr.data.pairs import TrainingPairs, image_batches, text_batches
from robustcmr.errors import DataError
from robustcmr.evaluation.candidate_search import Collection
from robustcmr.evaluation.rematch_quality import RematchQuality
from robustcmr.evaluation.suggestions import best_other_images
from robustcmr.evaluation.whole_set_quality import evaluate_whole_set
from robustcmr.matchers.base import Matcher
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.types import Correspondence, Division, FloatArray, IntArray

logger = logging.getLogger("robustcmr")

Fits = Callable[[int, IntArray], npt.NDArray[np.bool_]]
"""Which of (k,) images a caption row is true of."""

CHANCE_CAPTIONS = 1000
"""Captions compared with all images to estimate the precision of chance."""

PARTNER_CAPTIONS = 10_000
"""About so many captions tell which share of an epoch's images they are true of."""

SUGGESTED_IMAGES, SUGGESTED_PAIRS, LEAST_SUGGESTED = 2000, 20_000_000, 256
"""Images to suggest from by default: at most the first, fewer if that exceeds the second in pairs with the
captions, but never fewer than the third."""


def pairs_table(
    division: Division,
    matcher: Matcher,
    scores: FloatArray,
    split: PairsSplit,
    training: TrainingPairs,
    options: EvaluationOptions,
    device: torch.device,
) -> PairsTable:
    """Return the division of the training pairs, with the best other training image of every caption.

    The matcher, on ``device``, suggests the images; ``scores`` (N,) are its scores of the given pairs.
    """
    given = training.correspondence.image_of_caption
    most = options.rematch_images
    if most is None:  # slow matchers take long to score every caption with each of them
        most = min(SUGGESTED_IMAGES, max(LEAST_SUGGESTED, SUGGESTED_PAIRS // len(given)))
    candidates = np.arange(split.n_images, dtype=np.int64)
    if split.n_images > most:
        logger.info(
            "pairs.csv suggests from %d of %d training images; 'robustcmr rematch' searches all",
            most,
            split.n_images,
        )
        candidates = np.sort(np.random.default_rng(0).choice(candidates, most, replace=False))
    suggested, suggested_scores = best_other_images(
        matcher,
        candidates,
        image_batches(training.images, options.batch_size, candidates),
        text_batches(training.captions, options.batch_size, training.text_vectors),
        given,
        device,
        options.block_mib * 2**20,
    )
    names = split.image_names
    return PairsTable(
        pair=np.arange(len(given), dtype=np.int64),
        caption=split.captions,
        image=given,
        image_name=[names[i] if names is not None else "" for i in given],
        evidence=division.evidence,
        clean_probability=division.clean_probability,
        is_clean=division.is_clean,
        rematch=suggested,
        rematch_name=[names[i] if names is not None and i >= 0 else "" for i in suggested],
        score=scores.astype(np.float64),
        rematch_score=suggested_scores.astype(np.float64),
        id=split.pair_ids,
    )


def suspected_captions(
    table: PairsTable, split: PairsSplit, training: TrainingPairs, batch_size: int
) -> Collection:
    """Return the suspected captions of a table, without their given images; see :meth:`Track.suspects`."""
    given = training.correspondence.image_of_caption
    same = np.array_equal(table.pair, np.arange(len(given))) and np.array_equal(table.image, given)
    if not same or list(table.caption) != list(split.captions):
        raise DataError(
            "pairs.csv does not list the pairs that this run was trained on; restore the old data and the "
            "pairs.csv written at the end of training"
        )
    rows = np.flatnonzero(~table.is_clean)
    return Collection(
        lambda: image_batches(training.images, batch_size),
        lambda: text_batches(training.captions, batch_size, training.text_vectors, chosen=rows),
        split.n_images,
        torch.from_numpy(given[rows]),
    )


def partners_quality(image_from: IntArray, pairing: Correspondence, fits: Fits) -> RematchQuality:
    """Compare the images that captions are learned with, (N,) pair ids, with those that they are true of.

    Captions that keep their own do not count; of the others a sample is looked at. Chance is as below.
    """
    moved = np.flatnonzero(image_from != np.arange(len(image_from)))
    if not len(moved):
        return RematchQuality()
    some = moved[:: max(1, len(moved) // PARTNER_CAPTIONS)]
    images = pairing.image_of_caption[image_from[some]]
    right = [bool(fits(pair, images[k : k + 1])[0]) for k, pair in enumerate(some.tolist())]
    return RematchQuality(
        mass=float(len(some)),
        mass_on_fits=float(sum(right)),
        allowed=1.0,
        allowed_fits=_chance(moved, pairing, fits),
    )


def whole_set_quality(
    pairs: IntArray,
    images: IntArray,
    scores: FloatArray,
    plan: FloatArray,
    place: IntArray,
    pairing: Correspondence,
    fits: Fits,
) -> dict[str, float]:
    """Compare a whole-set rematching with the images that the captions are true of, and with chance.

    See :meth:`Track.rematch_quality`. Chance is the share of other images that a suspected caption is true
    of, over a sample of captions.
    """
    chance = _chance(pairs, pairing, fits)
    cells = np.zeros(images.shape, dtype=np.bool_)
    for row, pair in enumerate(pairs.tolist()):
        there = images[row] >= 0
        cells[row, there] = fits(pair, images[row, there])
    return evaluate_whole_set(cells, scores, plan, place, chance)


def _chance(pairs: IntArray, pairing: Correspondence, fits: Fits) -> float:
    every, given = np.arange(pairing.n_images, dtype=np.int64), pairing.image_of_caption
    sample = pairs[:: -(-len(pairs) // CHANCE_CAPTIONS)].tolist()
    return float(np.mean([float(fits(pair, every[every != given[pair]]).mean()) for pair in sample]))
