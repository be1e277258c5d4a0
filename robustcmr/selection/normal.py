"""What two normal components can answer, however they were fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robustcmr.selection.normalise import Values


@dataclass(frozen=True)
class NormalPair:
    """Two normal components, the one with the lower mean first.

    Attributes:
        means: (2,) mean of each.
        variances: (2,) variance of each.
        weights: (2,) shares, sum 1.
        log_likelihood: natural logarithm, summed over the values.
        iterations: number of steps taken.
        converged: whether the likelihood stopped rising before the steps ran out.
    """

    means: Values
    variances: Values
    weights: Values
    log_likelihood: float
    iterations: int
    converged: bool

    def log_densities(self, values: Values) -> Values:
        """(2, N) log density of each component, shares left out."""
        return normal_log_densities(values, self.means, self.variances)

    def turning_point(self) -> tuple[float, bool] | None:
        """Where the log ratio low / high turns, and whether it is highest there; None where it never does."""
        low, high = self.variances
        if low == high:
            return None
        return float((self.means[0] * high - self.means[1] * low) / (high - low)), bool(low < high)


def normal_log_densities(values: Values, means: Values, variances: Values) -> Values:
    """(2, N) log density of (N,) values under each of two normal components."""
    squares = (values - means[:, None]) ** 2 / variances[:, None]
    return np.asarray(-0.5 * (squares + np.log(2 * np.pi * variances)[:, None]))
