"""Which pairs people should look at: strata of the score, and how many labels each gets.

Pairs that are more likely wrong than right make three strata of about equal size, the others eight. The first
get 38% of the labels, in proportion to their size, as a promise of precision rests on them; the others

    n_h ~ N_h sqrt(q_h (1 - q_h)),      q_h = P(mismatch) in stratum h, kept within 0.08 and 0.92

where the bounds stand for what the probabilities do not see, such as near misses. Within a stratum each pair
is as likely to be drawn as any other, so an estimate weighs each label by N_h / n_h.

References:
    Neyman, 1934, for the allocation; Fisch et al., 2024 (arXiv 2406.04291), for strata of predictions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from robustcmr.audit.sampling import Smallest, mixed, seeded
from robustcmr.errors import DataError
from robustcmr.types import FloatArray, IntArray

Values = npt.NDArray[np.float64]

LIKELY_WRONG, LIKELY_RIGHT = 3, 8
"""Strata of either kind of pair."""
WRONG_LABELS = 0.38
"""Share of the labels that goes to pairs that are more likely wrong than right."""
_BOUNDS = 0.08, 0.92
_LEAST = 5  # labels of a stratum, if it has as many pairs
_SCORES = 1_000_000  # that the edges are quantiles of, at most


@dataclass(frozen=True)
class Design:
    """Strata of the score.

    Attributes:
        edges: (H - 1,) ascending; stratum h holds scores in (edges[h-1], edges[h]]. The lowest scores, which
            look wrong, are in stratum 0.
        counts: (H,) pairs of each.
        means: (H,) mean probability of a mismatch in each.
    """

    edges: Values
    counts: IntArray
    means: Values

    def stratum(self, scores: npt.ArrayLike) -> IntArray:
        """Return the stratum of each score, (n,)."""
        return np.searchsorted(self.edges, np.asarray(scores, np.float64), side="left").astype(np.int64)


def make_design(batches: Iterable[FloatArray], again: Iterable[FloatArray]) -> Design:
    """Divide scored pairs into strata of about equal size.

    Args:
        batches: scores of all pairs, (n,) each, NaN where a pair was not judged.
        again: the same once more.

    Raises:
        DataError: no pair has a score.
    """
    kept, number = _Kept(), 0
    for scores in batches:
        kept.add(scores, number)
        number += len(scores)
    sample = kept.scores()
    if len(sample) == 0:
        raise DataError("no pair of the audit has a score; there is nothing to review")
    wrong, right = sample[sample < 0], sample[sample >= 0]
    parts = [
        np.quantile(side, np.arange(1, strata) / strata)
        for side, strata in ((wrong, LIKELY_WRONG), (right, LIKELY_RIGHT))
        if len(side)
    ]
    inner = np.concatenate([*parts, [np.nextafter(np.float32(0), np.float32(-1))]]).astype(np.float32)
    edges = np.unique(inner[(inner >= sample.min()) & (inner < sample.max())]).astype(np.float64)
    design = Design(edges, np.zeros(len(edges) + 1, np.int64), np.zeros(len(edges) + 1))
    sums = np.zeros(len(edges) + 1)
    for scores in again:
        known = scores[~np.isnan(scores)]
        strata = design.stratum(known)
        design.counts[:] += np.bincount(strata, minlength=len(sums))
        sums += np.bincount(strata, expit(-known.astype(np.float64)), minlength=len(sums))
    design.means[:] = sums / np.maximum(design.counts, 1)
    return design


class _Kept:
    """Scores of at most ``_SCORES`` pairs, chosen by a hash of their number."""

    def __init__(self) -> None:
        self._chosen = Smallest(_SCORES)
        self._all: list[tuple[int, FloatArray]] = []
        self._found: dict[int, float] = {}
        self._scores = np.empty(0, np.float32)
        self._numbers = np.empty(0, np.int64)

    def add(self, scores: FloatArray, start: int) -> None:
        rows = np.flatnonzero(~np.isnan(scores))
        self._numbers = np.concatenate([self._numbers, rows + start])
        self._scores = np.concatenate([self._scores, scores[rows]])
        self._chosen.add(mixed((rows + start).astype(np.uint64)), rows + start)
        if len(self._numbers) > 2 * _SCORES:
            self._cut()

    def _cut(self) -> None:
        kept = np.isin(self._numbers, self._chosen.numbers(), assume_unique=True)
        self._numbers, self._scores = self._numbers[kept], self._scores[kept]

    def scores(self) -> FloatArray:
        self._cut()
        return self._scores


def allocate(design: Design, labels: int) -> IntArray:
    """Return how many pairs of each stratum to label, (H,), ``labels`` in all where there are as many.

    Example:
        >>> design = Design(np.array([-1.0, 1.0]), np.array([300, 600, 900]), np.array([0.9, 0.2, 0.01]))
        >>> allocate(design, 100)
        array([38, 31, 31])
    """
    chance = np.clip(design.means, *_BOUNDS)
    wanted = design.counts * np.sqrt(chance * (1 - chance))
    wrong = design.means > 0.5
    if wrong.any() and not wrong.all():
        wanted[wrong] = design.counts[wrong] / design.counts[wrong].sum() * WRONG_LABELS
        wanted[~wrong] *= (1 - WRONG_LABELS) / wanted[~wrong].sum()
    found = np.minimum(design.counts, _LEAST)
    for _ in range(labels):  # a few hundred: one label at a time to where it is missed most
        left = found < design.counts
        if found.sum() >= labels or not left.any():
            break
        missing = np.where(left, wanted / (found + 1), -1.0)
        found[int(np.argmax(missing))] += 1
    return found


def draw(
    batches: Iterable[FloatArray], design: Design, per_stratum: IntArray, seed: int
) -> tuple[IntArray, IntArray, Values]:
    """Draw pairs to label.

    The pairs of a smaller sample are among those of a larger one with the same seed.

    Args:
        batches: scores of all pairs, as of :func:`make_design`.
        design: strata.
        per_stratum: (H,) of :func:`allocate`.
        seed: of the choice.

    Returns:
        Numbers of the pairs, (k,), in random order; their strata, (k,); and the probability with which each
        was drawn, (k,).
    """
    chosen = [Smallest(int(size)) if size else None for size in per_stratum]
    number = 0
    for scores in batches:
        known = np.flatnonzero(~np.isnan(scores))
        strata = design.stratum(scores[known])
        hashes = seeded((known + number).astype(np.uint64), seed)
        for stratum, keeper in enumerate(chosen):
            if keeper is not None:
                mine = strata == stratum
                keeper.add(hashes[mine], known[mine] + number)
        number += len(scores)
    rows = [keeper.numbers() if keeper is not None else np.empty(0, np.int64) for keeper in chosen]
    numbers = np.concatenate(rows)
    strata = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
    order = np.argsort(mixed(seeded(numbers.astype(np.uint64), seed + 1)), kind="stable")
    drawn = np.array([len(one) for one in rows]) / np.maximum(design.counts, 1)
    return numbers[order], strata[order], drawn[strata][order]
