"""Evidence against pairs by a linear model of words and image features that never saw the pair it judges.

The pairs are dealt into folds. For each fold, the pairs of all others, weighted by the belief in them, give a
ridge regression between the words x of a caption and the features y of an image:

    s(x, y) = (x - mean x) (C_xx + a I)^-1 C_xy (C_yy + b I)^-1 (y - mean y)

with a and b ``RIDGE`` times the mean variance of a word and of a feature. The scores of the fold are
standardised over its captions, then over the images; the evidence is minus the mean of the two. Random
mismatches add nothing to C_xy on average, and none of the fold was learned, so its own look like mismatches
made on purpose. This needs no training, and nothing of it is ever memorised.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

from robustcmr.selection.normalise import Values
from robustcmr.selection.region_summary import SQUARES
from robustcmr.types import IntArray, PairContents

FOLDS, RIDGE = 5, 15.0
MOST_WORDS, MOST_IMAGES = 4096, 8192
"""Rarer words are left out; the mean and deviation over the images come from so many of them."""
_LEAST_BELIEF = 0.02
_LEAST_IMAGES = 4 * FOLDS
_TINY = 1e-9
_ROWS = 4096  # pairs at a time


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
    texts, images = _texts(contents), _Images(contents.features)
    weights, partner_image = np.maximum(belief, _LEAST_BELIEF), contents.image_of[contents.partner]
    members = [np.flatnonzero(fold == k) for k in range(FOLDS)]
    parts = [_sums(texts[rows], images, contents.image_of[rows], weights[rows]) for rows in members]
    total = _Sums(*(sum(values) for values in zip(*parts, strict=True)))
    for rows, part in zip(members, parts, strict=True):
        if len(rows):
            others = _Sums(*(a - b for a, b in zip(total, part, strict=True)))
            model = _Model(others, texts[rows], images, typical)
            own[rows] = model.against(contents.image_of[rows])
            reference[rows] = model.against(partner_image[rows])
    return own, reference


def _texts(contents: PairContents) -> Any:
    """(N, V) stored vectors of the captions, or else their most frequent words, sparse."""
    if contents.text_vectors is not None:
        return contents.text_vectors.double().numpy()
    words = contents.words
    if words.shape[1] <= MOST_WORDS:
        return words
    frequent = np.argsort(-np.bincount(words.indices, minlength=words.shape[1]), kind="stable")
    return words[:, np.sort(frequent[:MOST_WORDS])]


class _Images:
    """Features of images, each column divided by the root of its deviation: half way to equal ones."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        blocks = [features[some] for some in _blocks(len(features))]  # views: the whole may not fit twice
        mean = sum(block.double().sum(0) for block in blocks) / len(features)
        variance = sum((block.double() - mean).square().sum(0) for block in blocks) / len(features)
        self.mean = np.asarray(mean)
        spread = np.sqrt(np.maximum(np.asarray(variance), _TINY**2))
        means = np.arange(len(spread)) < max(1, len(spread) - SQUARES)
        share = np.where(means, spread[means].mean(), spread[~means].mean() if not means.all() else 1.0)
        self.scale = 1 / np.sqrt(spread * np.maximum(share, _TINY))  # both kinds have mean variance 1

    def __getitem__(self, rows: IntArray) -> Values:
        found: Values = (self.features[rows].double().numpy() - self.mean) * self.scale
        return found


class _Sums(NamedTuple):
    """Weighted sums over pairs: of weights, texts (V,), features (Q,), and their products."""

    weight: Any
    texts: Any
    features: Any
    texts_texts: Any  # (V, V), sparse where the texts are
    texts_features: Any
    features_features: Any


def _sums(texts: Any, images: _Images, image_of: IntArray, weights: Values) -> _Sums:
    from scipy import sparse  # slow to import

    weighted = sparse.diags_array(weights) @ texts
    width = len(images.mean)
    features, across, within = np.zeros(width), np.zeros((texts.shape[1], width)), np.zeros((width, width))
    for some in _blocks(len(weights)):
        y = images[image_of[some]]
        features += weights[some] @ y
        across += weighted[some].T @ y
        within += (y * weights[some, None]).T @ y
    return _Sums(weights.sum(), weights @ texts, features, weighted.T @ texts, across, within)


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, n, _ROWS))


class _Model:
    """A ridge regression, and the texts (M, V) that it judges."""

    def __init__(self, sums: _Sums, texts: Any, images: _Images, typical: IntArray) -> None:
        x, y = sums.texts / sums.weight, sums.features / sums.weight
        across = sums.texts_features / sums.weight - np.outer(x, y)
        half = _ridge_solved(sums.texts_texts, sums.weight, x, across)
        weights = _ridge_solved(sums.features_features, sums.weight, y, half.T).T  # (V, Q)
        turned = texts @ weights - x @ weights  # (M, Q)
        self.images, self.centre = images, y
        self.of_texts = turned.mean(0), np.cov(turned.T, bias=True)
        self.turned = np.column_stack([turned, -np.ones(len(turned))])  # (M, Q + 1)
        seen = self._seen(typical)
        self.mean = self.turned @ seen.mean(0)
        self.deviation = _lengths(self.turned, np.cov(seen.T, bias=True))

    def _seen(self, images: IntArray) -> Values:
        """(K, Q + 1) vectors whose products with ``turned`` are scores, standardised over the captions."""
        mean, covariance = self.of_texts
        features = self.images[images] - self.centre
        found: Values = np.column_stack([features, features @ mean])
        found /= _lengths(features, covariance)[:, None]
        return found

    def against(self, images: IntArray) -> Values:
        """(M,) evidence against each text with the image of the same row."""
        parts = [(self.turned[some] * self._seen(images[some])).sum(1) for some in _blocks(len(images))]
        scores: Values = np.concatenate(parts)
        evidence: Values = -0.5 * (scores + (scores - self.mean) / self.deviation)
        return evidence


def _ridge_solved(products: Any, weight: float, mean: Values, right: Values) -> Values:
    matrix = products.toarray() if hasattr(products, "toarray") else products
    matrix = matrix / weight - np.outer(mean, mean)
    matrix[np.diag_indices(len(matrix))] += RIDGE * np.trace(matrix) / len(matrix) + _TINY
    found: Values = cho_solve(cho_factor(matrix, overwrite_a=True), right)
    return found


def _lengths(vectors: Values, covariance: npt.NDArray[np.float64]) -> Values:
    """(M,) deviations of the products of each vector with vectors of that covariance."""
    found: Values = np.sqrt(np.maximum(((vectors @ covariance) * vectors).sum(1), _TINY))
    return found
