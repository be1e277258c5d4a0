"""The scores of a matcher that guesses: what a measure must exceed before anything was learned."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

from robustcmr.types import IntArray

_AT = (1, 5, 10)
_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Chance:
    """The distribution of a measure under random scores.

    Attributes:
        mean: expected value.
        std: standard deviation over random scores, at most.
    """

    mean: float
    std: float

    @property
    def most(self) -> float:
        """Two standard deviations above the mean, which a random matcher exceeds in about 2% of cases."""
        return self.mean + _DEVIATIONS * self.std


def recall_sum_chance(image_of_caption: IntArray, n_images: int) -> Chance:
    """Return the sum of R@1, R@5 and R@10 of both directions, 0..600, of independent random scores.

    An image with c of M captions finds one of them among the first k with probability
    1 - C(M - c, k) / C(M, k), and a caption its image among N with probability min(k, N) / N. Both directions
    share the scores, so their deviations add up at worst.

    Args:
        image_of_caption: (M,) int64, the image of each caption.
        n_images: N.

    Example:
        >>> recall_sum_chance(np.arange(100), 100).mean
        32.0
    """
    own = np.bincount(image_of_caption, minlength=n_images)  # (N,)
    m = len(image_of_caption)
    of_images = np.stack([hypergeom.sf(0, m, own, min(k, m)) for k in _AT])  # (3, N)
    of_captions = np.array([[min(k, n_images) / n_images] for k in _AT])  # (3, 1)
    mean = of_images.sum(axis=0).mean() + of_captions.sum()
    std = sqrt(_variance(of_images) / n_images) + sqrt(_variance(of_captions) / m)
    return Chance(round(100.0 * float(mean), 9), 100.0 * std)


def _variance(found: npt.NDArray[np.float64]) -> float:
    """Return the mean variance of hits at three nested lengths, hit with probabilities (3, n)."""
    first, second, third = found
    return float((5 * first + 3 * second + third - found.sum(axis=0) ** 2).mean().clip(min=0.0))


def average_precision_chance(labels: IntArray) -> Chance:
    """Return the mean average precision by class, 0..100, of independent random scores.

    A query with R relevant items of n has the expected AP (H + (R - 1) (n - H) / (n - 1)) / n, with the
    harmonic number H of n. The deviation of one AP is taken to be as large as its mean, which is above it.

    Args:
        labels: (n,) int64, classes of the pairs; images and texts alike.
    """
    n = len(labels)
    relevant = np.bincount(labels)[labels]  # (n,)
    harmonic = float((1.0 / np.arange(1, n + 1)).sum())
    mean = 100.0 * float(((harmonic + (relevant - 1) * (n - harmonic) / max(n - 1, 1)) / n).mean())
    return Chance(mean, mean / sqrt(2 * n))
