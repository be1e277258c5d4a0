"""How sure a difference is: over queries by a paired bootstrap, over seeds by flipping signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

RESAMPLES = 2000
SEED = 0
EXACT_SEEDS = 16
"""Up to so many seeds all signs are tried; with more the paired t-test stands for them."""

_CELLS = 1 << 22  # weights held at once: 32 MiB


@dataclass(frozen=True)
class SeedTest:
    """Whether two methods differ over seeds, each seed a pair of runs.

    Attributes:
        difference: mean over seeds.
        p_value: two-sided; None of a single seed, which says nothing of others.
        test: which test it is of.
        n_seeds: number of pairs.
    """

    difference: float
    p_value: float | None
    test: str
    n_seeds: int


@dataclass(frozen=True)
class QueryTest:
    """Whether two methods differ over queries.

    Attributes:
        difference: of the measure.
        low: lower end of the 95% interval.
        high: upper end of it.
        p_value: two-sided.
    """

    difference: float
    low: float
    high: float
    p_value: float


def seed_test(differences: Sequence[float]) -> SeedTest:
    """Test paired differences for a mean of 0.

    Args:
        differences: one a seed, at least one.

    Returns:
        Up to 16 seeds the exact sign-flip permutation test: the share of all ways to flip signs whose mean is
        at least as far from 0; it cannot fall below 2 / 2**n. Beyond, the paired t-test.

    References:
        Fisher, The Design of Experiments, 1935, section 21.
    """
    values = np.asarray(differences, dtype=np.float64)
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return SeedTest(mean, None, "none, one seed", 1)
    if n > EXACT_SEEDS:
        error = float(values.std(ddof=1)) / n**0.5
        p = float(2 * stats.t.sf(abs(mean) / error, n - 1)) if error > 0 else float(mean == 0)
        return SeedTest(mean, p, "paired t", n)
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)  # (2**n, n)
    sums = np.abs(signs @ values)
    slack = 1e-9 * np.abs(values).sum()  # what rounding may take from a sum that is equal
    return SeedTest(mean, float((sums >= sums[0] - slack).mean()), "sign flips, exact", n)


def query_tests(
    sums: Sequence[Floats], counts: Sequence[Floats], resamples: int = RESAMPLES, seed: int = SEED
) -> list[QueryTest]:
    """Bootstrap differences of a measure that is a sum of means, over groups of queries drawn together.

    Args:
        sums: for each part of the measure (n, P), what each of n groups adds to each of P differences.
        counts: for each part (n,), how many queries of it a group has.
        resamples: how often n groups are drawn with replacement; all differences share the draws.
        seed: of the draws.

    Returns:
        P tests, with percentile intervals.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    n, n_pairs = sums[0].shape
    observed = _measure(np.ones((1, n)), sums, counts)[0]  # (P,)
    generator, drawn = np.random.default_rng(seed), np.empty((resamples, n_pairs))
    size = max(1, _CELLS // n)
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        picks = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        weights = np.bincount(picks.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
        drawn[start : start + rows] = _measure(weights, sums, counts)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    below, above = (drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0)
    p_values = np.minimum(1.0, 2 * (1 + np.minimum(below, above)) / (1 + resamples))
    return [QueryTest(*map(float, values)) for values in zip(observed, low, high, p_values, strict=True)]


def _measure(weights: Floats, sums: Sequence[Floats], counts: Sequence[Floats]) -> Floats:
    """(R, P) of weights (R, n); a draw without any query of a part adds nothing by it."""
    total = np.zeros((len(weights), sums[0].shape[1]))
    for part, count in zip(sums, counts, strict=True):
        total += weights @ part / np.maximum(weights @ count, 1.0)[:, None]
    return total
