"""A linear model of pairs: a ridge regression between the words of a caption and the features of its image.

    s(x, y) = (x - mean x) (C_xx + a I)^-1 C_xy (C_yy + b I)^-1 (y - mean y)

with a and b ``RIDGE`` times the mean variance of a word and of a feature. Scores are standardised over the
captions. Random mismatches add nothing to C_xy on average.

References:
    Hoerl and Kennard, Ridge regression, 1970.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

from robustcmr.selection.normalise import Values
from robustcmr.selection.region_summary import SQUARES
from robustcmr.types import IntArray, PairContents

RIDGE = 15.0
MOST_WORDS = 4096
"""Rarer words are left out."""
LEAST_WEIGHT = 0.02
"""Of a pair that is hardly believed."""
_TINY = 1e-9
_ROWS = 4096  # pairs at a time


def texts_of(contents: PairContents) -> Any:
    """(N, V) stored vectors of the captions, or else their most frequent words, sparse."""
    if contents.text_vectors is not None:
        return contents.text_vectors.double().numpy()
    words = contents.words
    if words.shape[1] <= MOST_WORDS:
        return words
    frequent = np.argsort(-np.bincount(words.indices, minlength=words.shape[1]), kind="stable")
    return words[:, np.sort(frequent[:MOST_WORDS])]


class ImageFeatures:
    """Features of images, each column divided by the root of its deviation: half way to equal ones."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        parts = [features[some] for some in blocks(len(features))]  # views: the whole may not fit twice
        mean = sum(part.double().sum(0) for part in parts) / len(features)
        variance = sum((part.double() - mean).square().sum(0) for part in parts) / len(features)
        self.mean = np.asarray(mean)
        spread = np.sqrt(np.maximum(np.asarray(variance), _TINY**2))
        means = np.arange(len(spread)) < max(1, len(spread) - SQUARES)
        share = np.where(means, spread[means].mean(), spread[~means].mean() if not means.all() else 1.0)
        self.scale = 1 / np.sqrt(spread * np.maximum(share, _TINY))  # both kinds have mean variance 1

    def __getitem__(self, rows: IntArray) -> Values:
        found: Values = (self.features[rows].double().numpy() - self.mean) * self.scale
        return found


class PairSums(NamedTuple):
    """Weighted sums over pairs: of weights, texts (V,), features (Q,), and their products."""

    weight: Any
    texts: Any
    features: Any
    texts_texts: Any  # (V, V), sparse where the texts are
    texts_features: Any
    features_features: Any


def pair_sums(texts: Any, images: ImageFeatures, image_of: IntArray, weights: Values) -> PairSums:
    """Sum up captions (N, V) and their images, by weights (N,)."""
    from scipy import sparse  # slow to import

    weighted = sparse.diags_array(weights) @ texts
    width = len(images.mean)
    features, across, within = np.zeros(width), np.zeros((texts.shape[1], width)), np.zeros((width, width))
    for some in blocks(len(weights)):
        y = images[image_of[some]]
        features += weights[some] @ y
        across += weighted[some].T @ y
        within += (y * weights[some, None]).T @ y
    return PairSums(weights.sum(), weights @ texts, features, weighted.T @ texts, across, within)


def blocks(n: int) -> Iterator[slice]:
    """Yield the rows of n in blocks."""
    return (slice(start, start + _ROWS) for start in range(0, n, _ROWS))


class LinearModel:
    """A ridge regression; a caption's vector times an image's is the score of the two.

    Args:
        sums: over the pairs that it learns from.
        texts: (M, V) captions over which the scores of an image have mean 0 and deviation 1.
        images: features of all images.

    Attributes:
        turned: (M, Q + 1) vectors of these captions.
    """

    def __init__(self, sums: PairSums, texts: Any, images: ImageFeatures) -> None:
        x, y = sums.texts / sums.weight, sums.features / sums.weight
        across = sums.texts_features / sums.weight - np.outer(x, y)
        half = _ridge_solved(sums.texts_texts, sums.weight, x, across)
        self._weights = _ridge_solved(sums.features_features, sums.weight, y, half.T).T  # (V, Q)
        self._text_centre, self._image_centre, self._images = x, y, images
        self.turned = self.of_texts(texts)
        typical = self.turned[:, :-1]
        self._mean, self._covariance = typical.mean(0), np.atleast_2d(np.cov(typical.T, bias=True))

    def of_texts(self, texts: Any) -> Values:
        """(M, Q + 1) vectors of captions (M, V)."""
        turned = texts @ self._weights - self._text_centre @ self._weights
        return np.column_stack([turned, -np.ones(len(turned))])

    def of_images(self, images: IntArray) -> Values:
        """(K, Q + 1) vectors of images by their numbers (K,)."""
        features = self._images[images] - self._image_centre
        found: Values = np.column_stack([features, features @ self._mean])
        found /= lengths(features, self._covariance)[:, None]
        return found


def _ridge_solved(products: Any, weight: float, mean: Values, right: Values) -> Values:
    matrix = products.toarray() if hasattr(products, "toarray") else products
    matrix = matrix / weight - np.outer(mean, mean)
    matrix[np.diag_indices(len(matrix))] += RIDGE * np.trace(matrix) / len(matrix) + _TINY
    found: Values = cho_solve(cho_factor(matrix, overwrite_a=True), right)
    return found


def lengths(vectors: Values, covariance: npt.NDArray[np.float64]) -> Values:
    """(M,) deviations of the products of each vector with vectors of that covariance."""
    found: Values = np.sqrt(np.maximum(((vectors @ covariance) * vectors).sum(1), _TINY))
    return found
