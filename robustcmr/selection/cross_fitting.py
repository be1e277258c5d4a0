"""Evidence against pairs by a linear model of words and image features that never saw the pair it judges.

The pairs are dealt into folds. For each fold, the pairs of all others, weighted by the belief in them, give a
:class:`~robustcmr.selection.linear_model.LinearModel`. The scores of the fold are standardised over its
captions, then over the images; the evidence is minus the mean of the two. None of the fold was learned, so
its own pairs look like mismatches made on purpose where they are wrong. This needs no training, and nothing
of it is ever memorised.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from robustcmr.selection.linear_model import (
    LEAST_WEIGHT,
    ImageFeatures,
    LinearModel,
    PairSums,
    blocks,
    lengths,
    pair_sums,
    texts_of,
)
from robustcmr.selection.normalise import Values
from robustcmr.types import IntArray, PairContents

FOLDS = 5
MOST_IMAGES = 8192
"""The mean and deviation over the images come from so many of them."""
_LEAST_IMAGES = 4 * FOLDS


def cross_fitted_evidence(
    contents: PairContents, belief: Values, apart: Literal["images", "pairs"] = "images", seed: int = 0
) -> tuple[Values, Values]:
    """Return the evidence against every given pair, and against every pair mismatched on purpose.

    The latter give caption i the image of pair ``contents.partner[i]``.

    Args:
        contents: of N pairs.
        belief: (N,) in 0..1, how surely each pair is clean; ones where nothing is known.
        apart: deal whole images into folds, or single pairs. Then the other captions of a pair's image are
            learned from, which tells more where they are right, and misleads where all are wrong together.
        seed: of the deal.

    Returns:
        (N,) each, float64, with mean 0 and a deviation near 1 over mismatched pairs, high where a pair looks
        mismatched; 0 where there are too few images to judge by.

    Raises:
        ValueError: shapes do not fit.

    References:
        Hoerl and Kennard, Ridge regression, 1970. Chernozhukov et al., Double/debiased machine learning,
        2018, for judging by a model of the other folds.
    """
    n, n_images = len(contents.partner), len(contents.features)
    if belief.shape != (n,):
        raise ValueError(f"expected one belief a pair, ({n},), got {belief.shape}")
    own, reference = np.zeros(n), np.zeros(n)
    if n_images < _LEAST_IMAGES:
        return own, reference
    rng = np.random.default_rng(seed)
    fold = rng.permutation(n if apart == "pairs" else n_images) % FOLDS
    if apart == "images":
        fold = fold[contents.image_of]
    typical = rng.permutation(n_images)[:MOST_IMAGES]
    texts, images = texts_of(contents), ImageFeatures(contents.features)
    weights, partner_image = np.maximum(belief, LEAST_WEIGHT), contents.image_of[contents.partner]
    members = [np.flatnonzero(fold == k) for k in range(FOLDS)]
    parts = [pair_sums(texts[rows], images, contents.image_of[rows], weights[rows]) for rows in members]
    total = PairSums(*(sum(values) for values in zip(*parts, strict=True)))
    for rows, part in zip(members, parts, strict=True):
        if len(rows):
            others = PairSums(*(a - b for a, b in zip(total, part, strict=True)))
            model = LinearModel(others, texts[rows], images)
            pairings = contents.image_of[rows], partner_image[rows]
            own[rows], reference[rows] = _against(model, texts[rows], pairings, typical)
    return own, reference


def _against(
    model: LinearModel, texts: Any, pairings: tuple[IntArray, ...], typical: IntArray
) -> list[Values]:
    """(M,) evidence against each text with the images of each pairing (M,)."""
    turned, seen = model.of_texts(texts), model.of_images(typical)
    mean, deviation = turned @ seen.mean(0), lengths(turned, np.cov(seen.T, bias=True))
    found = []
    for images in pairings:
        parts = [(turned[some] * model.of_images(images[some])).sum(1) for some in blocks(len(images))]
        scores: Values = np.concatenate(parts)
        found.append(-0.5 * (scores + (scores - mean) / deviation))
    return found
