"""A list of wrong pairs whose precision, or recall, is promised with a stated confidence.

Cuts are nested: cut k drops all pairs whose score is at most c_k. For precision they are tested from the
smallest list with enough labels to ever larger ones, each at level alpha, until one fails; the last that
passed is chosen. The order does not depend on what the labels say, so the chance that a false promise is made
is at most alpha, although the best cut is chosen. For recall they are tested from the largest list down.

References:
    Angelopoulos et al., Learn then Test, 2021 (arXiv 2110.01052), section 2.3, for fixed sequences; Korn and
    Graubard, 1998, for the bound of a stratified share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from scipy.stats import beta as beta_distribution

from robustcmr.audit.design import Design
from robustcmr.audit.estimates import Labelled, share_bound
from robustcmr.types import FloatArray, IntArray

Values = npt.NDArray[np.float64]

CUTS = 100
"""Lists that are tried, each of one more percent of the pairs."""


@dataclass(frozen=True)
class Cuts:
    """Nested lists of pairs by their score.

    Attributes:
        scores: (K,) ascending; list k holds the pairs with a score of at most ``scores[k]``.
        counts: (K, H) pairs of list k in each stratum.
        all: (H,) pairs of each stratum.
    """

    scores: Values
    counts: IntArray
    all: IntArray


@dataclass(frozen=True)
class Certified:
    """What is promised of the chosen list.

    Attributes:
        cut: drop pairs whose score is at most this; None where the labels do not suffice.
        pairs: in the list.
        value: estimated precision or recall of the list.
        bound: one-sided lower bound that is at least the target.
        labels: within the list for precision, all for recall.
        needed: about how many labels would do where these do not; None where no number would, as far as they
            show.
    """

    cut: float | None
    pairs: int
    value: float
    bound: float
    labels: int
    needed: int | None


def make_cuts(sample: FloatArray, batches: Iterable[FloatArray], design: Design) -> Cuts:
    """Return lists of 1, 2, ..., percent of the scored pairs.

    Args:
        sample: scores of random pairs, (m,), of which the cuts are quantiles.
        batches: scores of all pairs, (n,) each, NaN where a pair was not judged.
        design: the strata that labels were drawn from.
    """
    levels = np.arange(1, CUTS) / CUTS
    scores = np.unique(np.quantile(sample[~np.isnan(sample)], levels).astype(np.float32)).astype(np.float64)
    strata = len(design.counts)
    table = np.zeros((len(scores) + 1, strata), np.int64)
    for batch in batches:
        known = batch[~np.isnan(batch)].astype(np.float64)
        first = np.searchsorted(scores, known, side="left")  # the smallest list that holds the pair
        flat = np.bincount(first * strata + design.stratum(known), minlength=table.size)
        table += flat.reshape(table.shape)
    counts = table.cumsum(axis=0)
    return Cuts(scores, counts[:-1], counts[-1])


def certify_precision(
    labelled: Labelled, scores: Values, cuts: Cuts, target: float, confidence: float = 0.95
) -> Certified:
    """Choose the largest list of which at least ``target`` is wrong, with ``confidence``.

    Args:
        labelled: labels of a stratified sample of all pairs.
        scores: (n,) of the labelled pairs.
        cuts: the lists.
        target: precision asked for, in (0, 1).
        confidence: in (0, 1).
    """
    least = np.log(1 - confidence) / np.log(target)  # labels that prove it if all are wrong
    best: Certified | None = None
    tried: list[Certified] = []
    stopped = False
    for cut, counts in zip(cuts.scores, cuts.counts, strict=True):
        inside = labelled.only(scores <= cut)
        value, bound, effective = share_bound(inside, counts, confidence)
        tried.append(Certified(float(cut), int(counts.sum()), value, bound, len(inside), None))
        if effective >= least and not stopped:
            stopped = bound < target
            best = best if stopped else tried[-1]
    return best or _not_enough(tried, labelled, target, confidence)


def _not_enough(tried: list[Certified], labelled: Labelled, target: float, confidence: float) -> Certified:
    """Say how many labels would do: those that prove what these show of the list with most of them."""
    promising = [one for one in tried if one.value > target]
    if not promising:
        shown = max(tried, key=lambda one: one.value, default=Certified(None, 0, 0.0, 0.0, 0, None))
        return Certified(None, 0, shown.value, shown.bound, shown.labels, None)
    shown = max(promising, key=lambda one: one.labels)
    value = min(shown.value, 1 - 1e-9)
    sizes = np.unique(np.geomspace(shown.labels, 1e6, 400).astype(int))
    proven = beta_distribution.ppf(1 - confidence, value * sizes, (1 - value) * sizes + 1) >= target
    needed = int(np.ceil(sizes[proven][0] * len(labelled) / shown.labels)) if proven.any() else None
    return Certified(None, 0, shown.value, shown.bound, shown.labels, needed)


def certify_recall(
    labelled: Labelled, scores: Values, cuts: Cuts, target: float, confidence: float = 0.95
) -> Certified:
    """Choose the smallest list that holds at least ``target`` of all wrong pairs, with ``confidence``.

    Recall is at least R where (1 - R) wrong pairs inside minus R wrong pairs outside is at least 0: a sum
    over strata, cut at the list, whose lower bound is that of a normal with the smoothed variance of each
    part.

    Args:
        labelled: labels of a stratified sample of all pairs.
        scores: (n,) of the labelled pairs.
        cuts: the lists.
        target: recall asked for, in (0, 1).
        confidence: in (0, 1).
    """
    best: Certified | None = None
    last: Certified | None = None
    for cut, counts in reversed(list(zip(cuts.scores, cuts.counts, strict=True))):
        value, excess, error = _recall(labelled, scores <= cut, counts, cuts.all - counts, target)
        reach = float(ndtri(confidence)) * error
        found = Certified(float(cut), int(counts.sum()), value, 0.0, len(labelled), None)
        last = found if last is None else last
        if excess - reach < 0:
            break
        best = found
    if best is not None:
        return Certified(best.cut, best.pairs, best.value, target, best.labels, None)
    return Certified(None, 0, last.value if last is not None else 0.0, 0.0, len(labelled), None)


def _recall(
    labelled: Labelled, inside: npt.NDArray[np.bool_], within: IntArray, beyond: IntArray, target: float
) -> tuple[float, float, float]:
    """Recall of a list, and (1 - R) A - R B with its standard error; A and B are shares of all pairs."""
    total = (within + beyond).sum()
    sums, variance = [], 0.0
    for chosen, counts, factor in ((inside, within, 1 - target), (~inside, beyond, target)):
        mine = labelled.only(chosen)
        wrong = (mine.wrong > 0).astype(np.float64)  # partly wrong pairs count among those to be found
        have = np.bincount(mine.stratum, minlength=len(counts))
        found = np.bincount(mine.stratum, wrong, minlength=len(counts))
        weights = counts / total
        known = have > 0
        sums.append(float((weights[known] * found[known] / have[known]).sum()))
        smooth = (found + 1) / (have + 2)
        # a part without labels may hold any share: it is taken at the worst for the promise
        if chosen is not inside:
            sums[-1] += float(weights[~known].sum())
        variance += factor**2 * float(
            (weights[known] ** 2 * (smooth * (1 - smooth))[known] / have[known]).sum()
        )
    a, b = sums
    return (a / (a + b) if a + b > 0 else 0.0), (1 - target) * a - target * b, variance**0.5
