"""Evidence against pairs by a linear model of words and image features that never saw the pair it judges.

The pairs are dealt into folds. For each fold, the pairs of all others, weighted by the belief in them, give a
:class:`~robustcmr.selection.linear_model.LinearModel`. The scores of the fold are standardised over its
captions, then over the images; the evidence is minus the mean of the two. None of the fold was learned, so
its own pairs look like mismatches made on purpose where they are wrong. This needs no training, and nothing
of it is ever memorised.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

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
    n = len(contents.partner)
    if belief.shape != (n,):
        raise ValueError(f"expected one belief a pair, ({n},), got {belief.shape}")
    own, reference = np.zeros(n), np.zeros(n)
    rng = np.random.default_rng(seed)
    partner_image, typical = contents.image_of[contents.partner], None
    for rows, model in _folds(contents, belief, apart, rng):
        if typical is None:
            typical = rng.permutation(len(contents.features))[:MOST_IMAGES]
        pairings = contents.image_of[rows], partner_image[rows]
        own[rows], reference[rows] = _against(model, pairings, typical)
    return own, reference


def share_in_best(contents: PairContents, belief: Values, best: float = 0.01, seed: int = 0) -> float:
    """Return the share of all pairs whose given image is among the ``best`` share of images for the caption.

    The linear model of the other folds ranks them; it has seen neither the pair nor its image. Of mismatched
    pairs the share is ``best`` itself. It is 0 where there are too few images to rank.

    Args:
        contents: of N pairs; at most ``MOST_IMAGES`` of them are ranked, among as many images.
        belief: (N,) in 0..1, how surely each pair is clean.
        best: in (0, 1).
        seed: of the deal and the samples.

    Example:
        >>> import numpy as np, torch
        >>> from robustcmr.selection import rare_words, share_in_best
        >>> from robustcmr.types import PairContents
        >>> rng, every = np.random.default_rng(0), np.arange(400)
        >>> topic = every % 50  # captions name what their image shows
        >>> features = torch.from_numpy(np.eye(50)[topic] + rng.normal(0, 0.05, (400, 50))).half()
        >>> words = rare_words(every, topic, 400)
        >>> right = PairContents(words, features, every, np.roll(every, 1))
        >>> wrong = PairContents(words, features, rng.permutation(400), np.roll(every, 1))
        >>> share_in_best(right, np.ones(400), 0.05) > 0.9, share_in_best(wrong, np.ones(400), 0.05) < 0.1
        (True, True)
    """
    rng, n = np.random.default_rng(seed), len(contents.image_of)
    chosen = np.zeros(n, dtype=np.bool_)
    chosen[rng.permutation(n)[:MOST_IMAGES]] = True
    others = rng.permutation(np.unique(contents.image_of))[:MOST_IMAGES]
    found = 0
    for rows, model in _folds(contents, belief, "images", rng):
        asked = np.flatnonzero(chosen[rows])
        seen = model.of_images(others).T
        for some in blocks(len(asked)):
            turned, given = model.turned[asked[some]], contents.image_of[rows[asked[some]]]
            own = (turned * model.of_images(given)).sum(1)
            better = (turned @ seen > own[:, None]) & (others != given[:, None])
            found += int((better.mean(1) < best).sum())
    return found / max(1, int(chosen.sum()))


def _folds(
    contents: PairContents, belief: Values, apart: Literal["images", "pairs"], rng: np.random.Generator
) -> Iterator[tuple[IntArray, LinearModel]]:
    """Yield the pairs of each fold and a model of the other folds for them; nothing of few images."""
    n, n_images = len(contents.partner), len(contents.features)
    if n_images < _LEAST_IMAGES:
        return
    fold = rng.permutation(n if apart == "pairs" else n_images) % FOLDS
    if apart == "images":
        fold = fold[contents.image_of]
    texts, images = texts_of(contents), ImageFeatures(contents.features)
    weights = np.maximum(belief, LEAST_WEIGHT)
    members = [np.flatnonzero(fold == k) for k in range(FOLDS)]
    parts = [pair_sums(texts[rows], images, contents.image_of[rows], weights[rows]) for rows in members]
    total = PairSums(*(sum(values) for values in zip(*parts, strict=True)))
    for rows, part in zip(members, parts, strict=True):
        if len(rows):
            others = PairSums(*(a - b for a, b in zip(total, part, strict=True)))
            yield rows, LinearModel(others, texts[rows], images)


def _against(model: LinearModel, pairings: tuple[IntArray, ...], typical: IntArray) -> list[Values]:
    """(M,) evidence against each text of a fold with the images of each pairing (M,)."""
    turned, seen = model.turned, model.of_images(typical)
    mean, deviation = turned @ seen.mean(0), lengths(turned, np.cov(seen.T, bias=True))
    found = []
    for images in pairings:
        parts = [(turned[some] * model.of_images(images[some])).sum(1) for some in blocks(len(images))]
        scores: Values = np.concatenate(parts)
        found.append(-0.5 * (scores + (scores - mean) / deviation))
    return found
