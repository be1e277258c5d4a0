"""Two-component mixtures: interface, normal components, posterior of the low component, curves for plots.

With shares w and densities f of the low (1) and high (2) component:

    log ratio   l(x) = log w_1 + log f_1(x) - log w_2 - log f_2(x)
    posterior   P(low | x) = 1 / (1 + exp(-l(x)))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import expit

from robustcmr.selection.normalise import Values
from robustcmr.types import FittedDensity

_CURVE_POINTS = 400


class Mixture(Protocol):
    """Two components, the one with the lower mean first.

    Attributes:
        weights: (2,) shares, sum 1.
        log_likelihood: natural logarithm, summed over the values.
        n_parameters: free parameters, shares included.
    """

    @property
    def weights(self) -> Values: ...  # noqa: D102
    @property
    def log_likelihood(self) -> float: ...  # noqa: D102
    @property
    def n_parameters(self) -> int: ...  # noqa: D102

    @property
    def means(self) -> Values:
        """(2,) mean of each component."""
        ...

    @property
    def variances(self) -> Values:
        """(2,) variance of each component."""
        ...

    def log_densities(self, values: Values) -> Values:
        """(2, N) log density of each component, without its share."""
        ...

    def turning_point(self) -> tuple[float, bool] | None:
        """Return where the log ratio turns and whether that is its maximum; None where it is monotone."""
        ...

    def scores(self, values: Values) -> Values:
        """(P, N) slopes of the log densities in their own parameters; first half the low component's."""
        ...


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

    n_parameters = 5

    def log_densities(self, values: Values) -> Values:
        """(2, N) log density of each component, without its share."""
        return normal_log_densities(values, self.means, self.variances)

    def turning_point(self) -> tuple[float, bool] | None:
        """See :meth:`Mixture.turning_point`."""
        low, high = self.variances
        if low == high:
            return None
        return float((self.means[0] * high - self.means[1] * low) / (high - low)), bool(low < high)

    def scores(self, values: Values) -> Values:
        """(4, N) slope of each component's log density in its mean and variance, low component's first."""
        rows = []
        for mean, variance in zip(self.means, self.variances, strict=True):
            apart = (values - mean) / variance
            rows += [apart, 0.5 * (apart**2 - 1 / variance)]
        return np.stack(rows)


def normal_log_densities(values: Values, means: Values, variances: Values) -> Values:
    """(2, N) log density of (N,) values under each of two normal components."""
    squares = (values - means[:, None]) ** 2 / variances[:, None]
    return np.asarray(-0.5 * (squares + np.log(2 * np.pi * variances)[:, None]))


def log_ratio(mixture: Mixture, values: Values) -> Values:
    """(N,) log ratio of the low to the high component, shares included, at values (N,)."""
    low, high = mixture.log_densities(values)
    return np.asarray(np.log(mixture.weights[0]) - np.log(mixture.weights[1]) + low - high)


def low_posterior(mixture: Mixture, values: Values) -> Values:
    """Return the posterior of the low component, made to never rise with the value.

    The plain posterior can turn around: a narrow low component makes the smallest values more likely under
    the wide high one, and a wide low component the largest. Beta and normal components have at most one such
    point; beyond it the posterior is constant.

    Args:
        mixture: with means in order.
        values: (N,) on the scale the mixture was fitted on.
    """
    turn = mixture.turning_point()
    limited = values
    if turn is not None:
        point, is_maximum = turn
        limited = np.maximum(values, point) if is_maximum else np.minimum(values, point)
    posterior = np.asarray(expit(log_ratio(mixture, limited)), dtype=np.float64)
    order = np.argsort(values, kind="stable")
    posterior[order] = np.minimum.accumulate(posterior[order])  # rounding must not raise it either
    return posterior


def otsu_split(ordered: Values) -> int:
    """Return the size, 1 .. N-1, of the lower of two groups of ascending values with most variance between.

    References:
        Otsu, 1979.
    """
    n = len(ordered)
    counts = np.arange(1, n, dtype=np.float64)
    sums = np.cumsum(ordered)
    between = (sums[:-1] / counts - (sums[-1] - sums[:-1]) / (n - counts)) ** 2 * counts * (n - counts)
    return int(np.argmax(between)) + 1


def fitted_density(
    mixture: Mixture,
    ends: tuple[float, float],
    unscale: Callable[[Values], Values],
    slope: Callable[[Values], Values],
    lowest: float | None = None,
) -> FittedDensity:
    """Return the two components of a mixture, times their shares, in the unit of the evidence.

    Args:
        mixture: fitted to evidence on its own scale.
        ends: range of the curves on that scale, on which their points are evenly spaced.
        unscale: from that scale to the unit of the evidence, increasing.
        slope: derivative of the scale with respect to the evidence, at points on the scale.
        lowest: bound of the evidence on that scale; density below it is mirrored. None where there is none.

    References:
        Silverman, Density Estimation, 1986, section 2.10, for mirroring.
    """
    grid = np.linspace(*ends, _CURVE_POINTS)
    heights = np.exp(mixture.log_densities(grid))  # (2, K)
    if lowest is not None:
        heights += np.exp(mixture.log_densities(2 * lowest - grid))
    heights *= mixture.weights[:, None] * slope(grid)
    return FittedDensity(unscale(grid), heights[0], heights[1])
