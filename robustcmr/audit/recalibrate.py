"""Probabilities corrected by labels: a logistic of the log odds, each label weighed by one over its chance.

    P'(wrong) = 1 / (1 + exp(-(a + b l))),      l the log odds that the audit gave, b >= 0

Both parameters are drawn towards a = 0, b = 1, the audit's own probabilities, as much as a few labels would
draw them, so that a handful of labels changes little.

References:
    Platt, 1999; Horvitz and Thompson, 1952, for the weights; White, 1982, for the covariance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_expit

Values = npt.NDArray[np.float64]

_Z = 1.96
_PRIOR = 2.0  # labels' worth of pull towards the audit's own probabilities


@dataclass(frozen=True)
class Recalibration:
    """Corrected log odds are ``shift + slope * log_odds``.

    Attributes:
        shift: a.
        slope: b.
        covariance: (2, 2) of both.
    """

    shift: float
    slope: float
    covariance: Values

    def __call__(self, log_odds: Values, low: Values, high: Values) -> tuple[Values, Values, Values]:
        """Return corrected probabilities and the ends of their intervals, (n,) each.

        Args:
            log_odds: (n,) that the pairs are wrong, by the audit.
            low: (n,) lower ends of their 95% intervals.
            high: (n,) upper ends.
        """
        middle = self.shift + self.slope * log_odds
        (v, c), (_, w) = self.covariance
        mine = _Z**2 * np.maximum(v + 2 * c * log_odds + w * log_odds**2, 0.0)
        below, above = (np.sqrt((self.slope * (end - log_odds)) ** 2 + mine) for end in (low, high))
        return expit(middle), expit(middle - below), expit(middle + above)


def recalibrate(log_odds: Values, wrong: Values, sampled: Values) -> Recalibration:
    """Fit the correction.

    Args:
        log_odds: (n,) that the labelled pairs are wrong, by the audit.
        wrong: (n,) labels in [0, 1].
        sampled: (n,) probability with which each was drawn, in (0, 1].

    Example:
        >>> odds = np.repeat([-3.0, 3.0], 200)
        >>> wrong = np.r_[np.ones(60), np.zeros(140), np.ones(190), np.zeros(10)]
        >>> found = recalibrate(odds, wrong, np.full(400, 0.1))
        >>> ends = np.array([-3.0, 3.0])
        >>> np.round(found(ends, ends, ends)[0], 2)
        array([0.29, 0.95])
    """
    weights = 1 / sampled
    weights = weights / weights.sum() * len(weights)
    rows = np.stack([np.ones_like(log_odds), log_odds])  # (2, n)

    def loss(parameters: Values) -> float:
        odds = parameters @ rows
        fit = -(weights * (wrong * log_expit(odds) + (1 - wrong) * log_expit(-odds))).sum()
        return float(fit + _PRIOR / 2 * (parameters[0] ** 2 + (parameters[1] - 1) ** 2))

    found = minimize(loss, np.array([0.0, 1.0]), method="L-BFGS-B", bounds=[(-20, 20), (0.0, 20.0)])
    chance = expit(found.x @ rows)
    curvature = (rows * weights * chance * (1 - chance)) @ rows.T + _PRIOR * np.eye(2)
    slopes = (rows * (weights * (wrong - chance)) ** 2) @ rows.T
    inverse = np.linalg.inv(curvature)
    return Recalibration(float(found.x[0]), float(found.x[1]), inverse @ slopes @ inverse)
