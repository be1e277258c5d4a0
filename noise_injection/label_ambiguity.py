r"""Which rows look like another class, and which class.

With :math:`d_c` the Euclidean distance of a row to the mean of class c, a row of class y has

    rival      r = argmin_{c != y} d_c      (the lowest class at a tie; classes without rows excluded)
    ambiguity  a = d_y / (d_y + d_r)        (0 on its own mean, 1/2 half-way, 1 on the rival's mean)

Rows are drawn one by one without replacement, with odds ``exp(SHARPNESS * z)`` among those left, where
``z = (a - mean(a)) / std(a)``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from noise_injection.checks import BLOCK, Array, IntArray, NoiseError

FloatArray = npt.NDArray[np.float64]

SHARPNESS = 2.0  # one standard deviation of ambiguity makes a row exp(2), about 7, times likelier
DECIMALS = 9  # of an ambiguity, so that rounding in the last digit does not differ between machines


def find_rivals(features: Array, truth: IntArray, n_classes: int) -> tuple[IntArray, FloatArray]:
    """Return each row's rival, (n,) int64, and its ambiguity, (n,) float64 in [0, 1], to nine decimals.

    ``features`` are (n, F) finite numbers, ``truth`` (n,) classes from 0 to ``n_classes - 1``.

    Example:
        >>> rivals, ambiguity = find_rivals(np.array([[0.0], [2.0], [4.0]]), np.array([0, 0, 1]), 2)
        >>> rivals.tolist(), ambiguity.tolist()
        ([1, 1, 0], [0.2, 0.333333333, 0.0])
    """
    counts = np.bincount(truth, minlength=n_classes)  # (K,)
    if (counts > 0).sum() < 2:
        raise NoiseError("all labels are of one class; instance label noise needs at least 2 classes")
    blocks = [slice(start, start + BLOCK) for start in range(0, len(features), BLOCK)]
    sums = np.zeros((n_classes, features.shape[1]))  # (K, F)
    for rows in blocks:
        np.add.at(sums, truth[rows], features[rows].astype(np.float64))
    centre = sums.sum(axis=0) / counts.sum()  # (F,) subtracted so that a large offset costs no digits
    means = sums / np.maximum(counts, 1)[:, None] - centre  # (K, F)
    squared_means = np.einsum("kf,kf->k", means, means)
    rivals = np.empty(len(features), dtype=np.int64)
    ambiguity = np.empty(len(features))
    for rows in blocks:
        block = features[rows].astype(np.float64) - centre  # (b, F)
        squares = np.einsum("bf,bf->b", block, block)[:, None] - 2 * (block @ means.T) + squared_means
        distances = np.sqrt(np.maximum(squares, 0))  # (b, K)
        each = np.arange(len(block))
        own = distances[each, truth[rows]]
        distances[:, counts == 0] = np.inf
        distances[each, truth[rows]] = np.inf
        rivals[rows] = distances.argmin(axis=1)
        both = own + distances[each, rivals[rows]]
        ambiguity[rows] = np.divide(own, both, out=np.full(len(block), 0.5), where=both > 0)
    return rivals, np.round(ambiguity, DECIMALS)


def choose_ambiguous(ambiguity: FloatArray, count: int, generator: np.random.RandomState) -> IntArray:
    """Draw ``count`` of n rows without replacement, ambiguous ones more often; returned in the order drawn.

    All draws at once: the rows with the smallest ``e / exp(SHARPNESS * z)``, where ``e`` is exponential
    (Efraimidis and Spirakis 2006). Takes n numbers from the generator.
    """
    spread = ambiguity.std()
    z = (ambiguity - ambiguity.mean()) / spread if spread > 0 else np.zeros_like(ambiguity)
    waiting = -np.log1p(-generator.random_sample(ambiguity.size))  # (n,) exponential
    order = np.argsort(waiting * np.exp(-SHARPNESS * z), kind="stable")
    return order[:count].astype(np.int64, copy=False)
