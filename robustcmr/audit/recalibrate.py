"""Probabilities corrected by labels: a logistic of the log odds, each label weighed by one over its chance.

    P'(wrong) = 1 / (1 + exp(-(a + b l))),      l the log odds that the audit gave, b >= 0

Both parameters are drawn towards a = 0, b = 1, the audit's own probabilities, as much as a few labels would
draw them, so that a handful of labels changes little.

References:
    Platt, 1999; Horvitz and Thompson, 1952, for the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_expit

Values = npt.NDArray[np.float64]

_PRIOR = 2.0  # labels' worth of pull towards the audit's own probabilities


@dataclass(frozen=True)
class Recalibration:
    """Corrected log odds are ``shift + slope * log_odds``."""

    shift: float
    slope: float

    def __call__(self, log_odds: Values) -> Values:
        """Return the corrected probabilities of log odds, (n,) each."""
        return np.asarray(expit(self.shift + self.slope * log_odds))


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
        >>> np.round(found(np.array([-3.0, 3.0])), 2)
        array([0.3 , 0.95])
    """
    weights = 1 / sampled
    weights = weights / weights.sum() * len(weights)

    def loss(parameters: Values) -> float:
        shift, slope = parameters
        odds = shift + slope * log_odds
        fit = -(weights * (wrong * log_expit(odds) + (1 - wrong) * log_expit(-odds))).sum()
        return float(fit + _PRIOR / 2 * (shift**2 + (slope - 1) ** 2))

    found = minimize(loss, np.array([0.0, 1.0]), method="L-BFGS-B", bounds=[(-20, 20), (0.0, 20.0)])
    return Recalibration(float(found.x[0]), float(found.x[1]))
