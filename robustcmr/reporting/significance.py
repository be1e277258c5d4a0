"""Significance of differences: over queries by a paired bootstrap, over seeds by flipping signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from robustcmr.errors import RunFolderError
from robustcmr.runs.queries import read_queries
from robustcmr.runs.read import SavedRun

Floats = npt.NDArray[np.float64]
Parts = tuple[tuple[Floats, Floats], tuple[Floats, Floats]]
"""For both directions, what each group of queries adds to the headline measure, and how many it has."""

RESAMPLES = 2000
SEED = 0
EXACT_SEEDS = 16
"""Up to so many seeds all signs are tried; beyond, the paired t-test is used."""

_CELLS = 1 << 22  # weights in memory at once: 32 MiB


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
    slack = 1e-9 * np.abs(values).sum()  # rounding of equal sums
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


def over_seeds(
    reference: Mapping[int, SavedRun], others: Sequence[Mapping[int, SavedRun]], split: str, measure: str
) -> list[SeedTest | None]:
    """Test methods against a reference by a measure, runs paired by seed; None without a common seed."""
    tests: list[SeedTest | None] = []
    for runs in others:
        differences = [
            runs[seed].results["splits"][split][measure] - reference[seed].results["splits"][split][measure]
            for seed in runs
            if seed in reference
        ]
        tests.append(seed_test(differences) if differences else None)
    return tests


def over_queries(
    reference: Mapping[int, SavedRun],
    others: Sequence[Mapping[int, SavedRun]],
    split: str,
    track: str,
    resamples: int,
) -> list[QueryTest | None]:
    """Test methods against a reference, paired by query, by the mean over their common seeds.

    Images are drawn together with their captions, as their queries are not independent.

    Args:
        reference: its runs by seed.
        others: the runs of each other method by seed.
        split: of the queries.
        track: ``pairs`` or ``labels``.
        resamples: of the bootstrap.

    Returns:
        Tests of other minus reference by the headline measure; None where a run lacks its queries, they are
        not the same ones, or no seed is common.
    """
    own = {seed: _parts(run, split, track) for seed, run in reference.items()}
    differences: list[list[Floats] | None] = []
    counts: tuple[Floats, Floats] | None = None
    for runs in others:
        found: list[list[Floats]] = []
        for seed in [seed for seed in runs if seed in own]:
            ours, theirs = own[seed], _parts(runs[seed], split, track)
            if ours is None or theirs is None:
                continue
            kept = (ours[0][1], ours[1][1]) if counts is None else counts
            same = all(
                np.array_equal(count, kept[way])
                for parts in (ours, theirs)
                for way, (_, count) in enumerate(parts)
            )
            if same:
                counts = kept
                found.append([theirs[way][0] - ours[way][0] for way in (0, 1)])
        common = sum(seed in own for seed in runs)
        whole = bool(found) and len(found) == common
        differences.append([np.mean(way, axis=0) for way in zip(*found, strict=True)] if whole else None)
    known = [each for each in differences if each is not None]
    if counts is None or not known:
        return [None] * len(others)
    sums = [np.stack([each[way] for each in known], axis=1) for way in (0, 1)]  # (n, P)
    tests = iter(query_tests(sums, counts, resamples))
    return [None if each is None else next(tests) for each in differences]


def _parts(run: SavedRun, split: str, track: str) -> Parts | None:
    """Sums (n,) and counts (n,) of both directions; their quotients add up to the headline measure."""
    if run.alone:
        return None
    try:
        queries = read_queries(run.folder.queries(split))
        return _recall_parts(queries) if track == "pairs" else _precision_parts(queries)
    except (RunFolderError, KeyError, ValueError, IndexError):  # missing, or of another form
        return None


def _recall_parts(queries: Mapping[str, npt.NDArray[Any]]) -> Parts:
    # each query's share of R@1 + R@5 + R@10, in percent
    by_image, by_caption = (
        100.0 * np.sum([queries[name] <= k for k in (1, 5, 10)], axis=0) for name in ("i2t_rank", "t2i_rank")
    )
    n, owner = len(by_image), queries["t2i_image"]
    captions = np.bincount(owner, minlength=n).astype(np.float64)
    found = np.bincount(owner, weights=by_caption, minlength=n).astype(np.float64)
    return (by_image, np.ones(n)), (found, captions)


def _precision_parts(queries: Mapping[str, npt.NDArray[Any]]) -> Parts:
    i2t, t2i = (queries[name] for name in ("i2t_ap", "t2i_ap"))
    return (
        (np.nan_to_num(i2t) / 2, np.isfinite(i2t).astype(np.float64)),
        (np.nan_to_num(t2i) / 2, np.isfinite(t2i).astype(np.float64)),
    )
