"""Differences of methods in one setting, run against run: over common seeds, and over queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from robustcmr.errors import RunFolderError
from robustcmr.reporting.bootstrap import QueryTest, SeedTest, query_tests, seed_test
from robustcmr.runs.queries import read_queries
from robustcmr.runs.read import SavedRun

Floats = npt.NDArray[np.float64]
Parts = tuple[tuple[Floats, Floats], tuple[Floats, Floats]]
"""Of both directions, what each group of queries adds to the headline measure, and how many it has."""


def over_seeds(
    reference: Mapping[int, SavedRun],
    others: Sequence[Mapping[int, SavedRun]],
    split: str,
    measure: str,
) -> list[SeedTest | None]:
    """Hold methods against a reference, each seed a pair.

    Args:
        reference: its runs by seed.
        others: the runs of each other method by seed.
        split: which split.
        measure: name of the measure.

    Returns:
        Tests of other minus reference; None without a common seed.
    """
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
    """Hold methods against a reference, each query a pair, by the mean over their common seeds.

    Images are drawn with their captions, and pairs with classes whole, for their queries are no independent
    witnesses.

    Args:
        reference: its runs by seed.
        others: the runs of each other method by seed.
        split: which split.
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
    """Of both directions sums (n,) and counts (n,); their quotients add up to the headline measure."""
    try:
        queries = read_queries(run.folder.queries(split))
        return _recall_parts(queries) if track == "pairs" else _precision_parts(queries)
    except (RunFolderError, KeyError, ValueError, IndexError):  # not there, or of another form
        return None


def _recall_parts(queries: Mapping[str, npt.NDArray[Any]]) -> Parts:
    by_image, by_caption = (_found(queries[name]) for name in ("i2t_rank", "t2i_rank"))
    n, owner = len(by_image), queries["t2i_image"]
    captions = np.bincount(owner, minlength=n).astype(np.float64)
    found = np.bincount(owner, weights=by_caption, minlength=n).astype(np.float64)
    return (by_image, np.ones(n)), (found, captions)


def _found(ranks: npt.NDArray[Any]) -> Floats:
    """What each query adds to the sum of recalls at 1, 5 and 10, in percent."""
    hits: npt.NDArray[np.int64] = np.stack([ranks <= k for k in (1, 5, 10)]).sum(axis=0)
    return 100.0 * hits.astype(np.float64)


def _precision_parts(queries: Mapping[str, npt.NDArray[Any]]) -> Parts:
    i2t, t2i = (queries[name] for name in ("i2t_ap", "t2i_ap"))
    return (
        (np.nan_to_num(i2t) / 2, np.isfinite(i2t).astype(np.float64)),
        (np.nan_to_num(t2i) / 2, np.isfinite(t2i).astype(np.float64)),
    )
