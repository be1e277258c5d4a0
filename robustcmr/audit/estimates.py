"""What labels of a few pairs say of all: noise rate, precision and recall of a list, with intervals.

With strata h of share W_h, n_h labels y in [0, 1] (1 is wrong), and f = P(mismatch) of every pair:

    rate = sum_h W_h [ lambda F_h + mean_h(y - lambda f) ],      var = sum_h W_h^2 v_h / n_h

F_h is the mean of f in the stratum, v_h the variance of y - lambda f in it, and lambda the factor that makes
the variance least; 0 gives the plain stratified mean. A stratum whose labels agree still has a variance: that
of its labels and two more, one of each kind.

References:
    Angelopoulos, Duchi and Zrnic, PPI++, 2023 (arXiv 2311.01453), and Fisch et al., 2024 (arXiv 2406.04291);
    Agresti and Coull, 1998, for the two labels more; Korn and Graubard, 1998, for bounds of shares near 0 or
    1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from scipy.stats import beta as beta_distribution

from robustcmr.errors import DataError
from robustcmr.types import IntArray

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """Labels of sampled pairs.

    Attributes:
        wrong: (n,) in [0, 1]: 1 wrong, 0 right, 0.5 partly.
        chance: (n,) P(mismatch) of the pair, in [0, 1].
        stratum: (n,) in 0 .. H - 1.
    """

    wrong: Values
    chance: Values
    stratum: IntArray

    def __len__(self) -> int:
        return len(self.wrong)

    def only(self, chosen: npt.NDArray[np.bool_]) -> Labelled:
        """Return the labels of some pairs, by a mask (n,)."""
        return Labelled(self.wrong[chosen], self.chance[chosen], self.stratum[chosen])


@dataclass(frozen=True)
class Estimate:
    """A share with its interval, all in [0, 1].

    Attributes:
        value: the share.
        low: lower end.
        high: upper end.
        labels: that it rests on.
    """

    value: float
    low: float
    high: float
    labels: int

    @property
    def width(self) -> float:
        """Distance of the ends."""
        return self.high - self.low


def noise_rate(
    labelled: Labelled, counts: IntArray, means: Values | None = None, confidence: float = 0.95
) -> Estimate:
    """Estimate the share of wrong pairs.

    Args:
        labelled: labels of pairs that were drawn at random within their stratum.
        counts: (H,) pairs of each stratum.
        means: (H,) mean of P(mismatch) in each; None estimates by the strata alone.
        confidence: of the interval, in (0, 1).

    Raises:
        DataError: a stratum that has pairs has no label.
    """
    shares = _shares(labelled, counts)
    factor = 0.0 if means is None else _best_factor(labelled, shares)
    value = float(factor * (shares @ means)) if means is not None else 0.0
    variance = 0.0
    for stratum in np.flatnonzero(shares > 0):
        mine = labelled.only(labelled.stratum == stratum)
        rest = mine.wrong - factor * mine.chance
        value += shares[stratum] * rest.mean()
        variance += shares[stratum] ** 2 * _variance(mine.wrong, rest) / len(mine)
    reach = float(ndtri(0.5 + confidence / 2)) * variance**0.5
    low, high = max(0.0, value - reach), min(1.0, value + reach)
    return Estimate(float(np.clip(value, 0, 1)), low, high, len(labelled))


def labels_for_width(found: Estimate, width: float) -> int:
    """Return about how many labels an interval of ``width`` takes in all, placed as these were."""
    return int(np.ceil(found.labels * (found.width / width) ** 2))


def _shares(labelled: Labelled, counts: IntArray) -> Values:
    """(H,) shares of the strata."""
    have = np.bincount(labelled.stratum, minlength=len(counts))
    if (missing := np.flatnonzero((counts > 0) & (have == 0))).size:
        raise DataError(
            f"{len(missing)} of {int((counts > 0).sum())} strata of the score have no label yet, expected "
            "one of each at least; label more pairs"
        )
    return np.asarray(counts / counts.sum(), np.float64)


def _variance(wrong: Values, rest: Values) -> float:
    """Variance of a label in a stratum: of ``rest``, but no less than with one label more of each kind."""
    n = len(wrong)
    share = (wrong.sum() + 1) / (n + 2)
    plain = float(wrong.var())
    # what lambda explains is taken off the smoothed variance in the same proportion
    explained = float(rest.var()) / plain if plain > 0 else 1.0
    return float(share * (1 - share)) * min(1.0, max(explained, 0.0)) if n > 2 else 0.25


def _best_factor(labelled: Labelled, shares: Values) -> float:
    """Lambda, in [0, 1]: covariance over variance within strata, each weighed as in the estimate."""
    together, alone = 0.0, 0.0
    for stratum in np.flatnonzero(shares > 0):
        mine = labelled.only(labelled.stratum == stratum)
        if len(mine) > 2:
            weight = shares[stratum] ** 2 / len(mine)
            chance = mine.chance - mine.chance.mean()
            together += weight * float(chance @ mine.wrong) / (len(mine) - 1)
            alone += weight * float(chance @ chance) / (len(mine) - 1)
    return float(np.clip(together / alone, 0.0, 1.0)) if alone > 0 else 0.0


def list_precision(labelled: Labelled, counts: IntArray, confidence: float = 0.95) -> Estimate:
    """Estimate the share of wrong pairs of a list, with an interval that both bounds of a share make.

    Args:
        labelled: labels of the list's pairs alone; a label of 0.5 counts as right.
        counts: (H,) pairs of the list in each stratum.
        confidence: of the interval, in (0, 1).
    """
    one_sided = 0.5 + confidence / 2
    value, low, _ = share_bound(labelled, counts, one_sided)
    right = Labelled(np.where(labelled.wrong >= 1, 0.0, 1.0), labelled.chance, labelled.stratum)
    below = share_bound(right, counts, one_sided)[1]
    return Estimate(value, low, 1 - below, len(labelled))


def list_recall(
    labelled: Labelled,
    inside: npt.NDArray[np.bool_],
    within: IntArray,
    beyond: IntArray,
    confidence: float = 0.95,
) -> Estimate:
    """Estimate the share of all wrong pairs that a list holds.

    With A and B the shares of all pairs that are wrong inside and outside, the recall A / (A + B) has, by the
    delta method, the variance (B^2 var A + A^2 var B) / (A + B)^4.

    Args:
        labelled: labels of a stratified sample of all pairs.
        inside: (n,) whether each labelled pair is on the list.
        within: (H,) pairs of the list in each stratum.
        beyond: (H,) the other pairs.
        confidence: of the interval, in (0, 1).
    """
    total = (within + beyond).sum()
    sums, variances = [], []
    for chosen, counts in ((inside, within), (~inside, beyond)):
        mine = labelled.only(chosen)
        have = np.bincount(mine.stratum, minlength=len(counts))
        wrong = np.bincount(mine.stratum, mine.wrong, minlength=len(counts))
        known, weights = have > 0, counts / total
        share, smooth = wrong[known] / have[known], (wrong[known] + 1) / (have[known] + 2)
        sums.append(float(weights[known] @ share))
        variances.append(float((weights[known] ** 2 * smooth * (1 - smooth) / have[known]).sum()))
    a, b = sums
    if a + b == 0:
        return Estimate(0.0, 0.0, 1.0, len(labelled))
    error = (b**2 * variances[0] + a**2 * variances[1]) ** 0.5 / (a + b) ** 2
    value, reach = a / (a + b), float(ndtri(0.5 + confidence / 2)) * error
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach), len(labelled))


def share_bound(labelled: Labelled, counts: IntArray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the share of wrong pairs of a list, its one-sided lower bound and the effective labels.

    Args:
        labelled: labels of the list's pairs alone; a label of 0.5 counts as right.
        counts: (H,) pairs of the list in each stratum.
        confidence: of the bound, in (0, 1).

    Strata of the list without a label are taken to be right throughout.
    """
    total = counts.sum()
    if total == 0 or len(labelled) == 0:
        return 0.0, 0.0, 0.0
    weights = counts / total
    wrong = (labelled.wrong >= 1).astype(np.float64)
    have = np.bincount(labelled.stratum, minlength=len(counts))
    found = np.bincount(labelled.stratum, wrong, minlength=len(counts))
    known = have > 0
    value = float((weights[known] * found[known] / have[known]).sum())
    smooth = (found[known] + 1) / (have[known] + 2)
    variance = float((weights[known] ** 2 * smooth * (1 - smooth) / have[known]).sum())
    middle = float((weights[known] * smooth).sum() / weights[known].sum())
    effective = min(float(len(labelled)), middle * (1 - middle) / variance)
    hits = value * effective
    low = float(beta_distribution.ppf(1 - confidence, hits, effective - hits + 1)) if hits > 0 else 0.0
    return value, low, effective
