"""From evidence to the probability of a random mismatch, without labels.

Pairs mismatched on purpose give the density f_1 of the evidence e of random mismatches; the given pairs have

    f = pi f_1 + (1 - pi) f_0,        P(random mismatch | e) = pi f_1(e) / f(e)

f_0, of all other pairs, is never modelled. Hardly any of them lies among the lowest values of f_1, so

    pi_q = P(e <= c_q) / q,           c_q the q quantile of f_1

falls towards pi as q falls, while its error grows; the largest q is taken that agrees with all smaller ones.
f_1 / f comes from counts, made to fall with e.

References:
    Storey, JRSS B 2002, for pi_q; Lepski, 1990, for the choice of q; Efron, Large-Scale Inference, 2010, for
    the posterior; Robertson, Wright and Dykstra, 1988, for monotone estimates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import isotonic_regression

Values = npt.NDArray[np.float64]

_QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5)
_CONTRADICTS = 2.0  # standard errors
_BINS = 20
_LEAST_COUNT = 5  # of either kind in a bin that the curve rests on
_MOST = 0.98  # probability that counts alone can prove
_Z = 1.96


@dataclass(frozen=True)
class Share:
    """Share of pairs that look randomly mismatched, with the ends of its 95% interval, each in [0, 1]."""

    value: float
    low: float
    high: float


def random_share(given: Values, random: Values) -> Share:
    """Return pi of given pairs, from evidence (n,) of these and (m,) of random partners.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> given = np.concatenate([rng.normal(3, 1, 7000), rng.normal(-3, 1, 3000)])
        >>> found = random_share(given, rng.normal(-3, 1, 5000))
        >>> found.low < 0.3 < found.high
        True
    """
    n, m = len(given), len(random)
    levels = np.array(_QUANTILES)
    below = np.searchsorted(np.sort(given), np.quantile(random, levels), side="right") / n  # P(e <= c_q)
    shares = below / levels
    # of the given counts, at least one of them, and of the quantile itself
    errors = np.hypot(
        np.sqrt(np.maximum(below * (1 - below), 1 / n) / n) / levels,
        shares * np.sqrt((1 - levels) / levels / m),
    )
    # the largest q that no smaller one contradicts
    best = next(
        q for q in reversed(range(len(levels))) if (shares[q] <= shares[:q] + _CONTRADICTS * errors[:q]).all()
    )
    value = min(1.0, float(shares[best]))
    reach = _Z * float(errors[best])
    # pairs that are no random mismatches can only raise pi_q, so what smaller q allow stays possible
    low = min(value - reach, float((shares - errors).min()))
    return Share(value, max(0.0, low), min(1.0, value + reach))


@dataclass(frozen=True)
class Curve:
    """Log odds that a pair is a random mismatch, as a falling function of its evidence.

    Attributes:
        points: (K,) ascending evidence.
        log_odds: (K,) there.
        low: (K,) ends of its 95% interval, the uncertainty of the share included.
        high: (K,) likewise.
        share: of random mismatches.
    """

    points: Values
    log_odds: Values
    low: Values
    high: Values
    share: Share

    def __call__(self, evidence: Values) -> tuple[Values, Values, Values]:
        """Return the log odds and the ends of their interval, (n,) each.

        Beyond the outermost points a unit of evidence is a unit of log odds, as it is for the fitted line.
        """
        beyond = np.minimum(evidence - self.points[0], 0) + np.maximum(evidence - self.points[-1], 0)
        odds, low, high = (
            np.interp(evidence, self.points, values) - beyond
            for values in (self.log_odds, self.low, self.high)
        )
        return odds, low, high


def fit_curve(given: Values, random: Values) -> Curve:
    """Fit the curve to evidence (n,) of given pairs and (m,) of pairs with random partners."""
    share = random_share(given, random)
    prior = max(share.value, 0.5 / len(given))
    edges = np.unique(np.quantile(np.concatenate([given, random]), np.linspace(0, 1, _BINS + 1)))
    centres = (edges[:-1] + edges[1:]) / 2
    at_random, at_given = (np.histogram(values, edges)[0] for values in (random, given))
    ratio = (at_random + 0.5) / (len(random) + 1) / ((at_given + 0.5) / (len(given) + 1))
    weights = 1 / (1 / (at_random + 0.5) + 1 / (at_given + 0.5))  # of the log ratio: one over its variance
    used = (at_random >= _LEAST_COUNT) & (at_given >= _LEAST_COUNT)
    if not used.any():  # the two kinds do not overlap: the middle of the gap decides
        used[int(np.argmax(weights))] = True
    centres, ratio, weights = centres[used], ratio[used], weights[used]
    falling = isotonic_regression(np.log(ratio), sample_weight=weights, increasing=False)
    falling = np.minimum(falling, np.log(_MOST / prior))
    # one point for each level, so that the curve is nowhere flat between them
    levels, level_of = np.unique(-falling, return_inverse=True)
    mass = np.bincount(level_of, weights)
    points = np.bincount(level_of, weights * centres) / mass
    log_chance = np.log(prior) - levels
    # relative errors of the counts and of the share
    reach = _Z * np.hypot(1 / np.sqrt(mass), (share.high - share.low) / (2 * _Z * prior))
    low, high = np.minimum.accumulate(log_chance - reach), np.minimum.accumulate(log_chance + reach)
    return Curve(points, _log_odds(log_chance), _log_odds(low), _log_odds(high), share)


def _log_odds(log_chance: Values) -> Values:
    capped = np.minimum(log_chance, np.log(_MOST))
    return np.asarray(capped - np.log1p(-np.exp(capped)))


def near_bound(given: Values, random: Values, near: Values, share: Share) -> float:
    """Return the largest share of pairs that could be mismatches as close as the near partners, in [0, 1].

    At any level c, pi F_1(c) + pi_near F_near(c) cannot exceed F(c). Near misses closer than these partners
    are invisible to it.

    Args:
        given: (n,) evidence of given pairs.
        random: (m,) of random partners.
        near: (k,) of near partners.
        share: of random mismatches.
    """
    levels = np.linspace(0.1, 0.7, 25)
    cuts = np.quantile(near, levels)
    below, of_random = (
        np.searchsorted(np.sort(values), cuts, side="right") / len(values) for values in (given, random)
    )
    error = _Z * np.sqrt(below * (1 - below) / len(given))
    bounds = (below - share.low * of_random + error) / levels
    return float(np.clip(bounds.min(), 0.0, 1.0 - share.low))
