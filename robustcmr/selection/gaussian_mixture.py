"""Two normal components, fitted by scikit-learn from a fixed start."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from sklearn.mixture import GaussianMixture as SklearnMixture

from robustcmr.selection.mixture import otsu_split
from robustcmr.selection.normalise import Values, check_evidence

FLOOR = 1e-4
"""Added to every variance, or a component could shrink onto equal values without end."""


@dataclass(frozen=True)
class GaussianMixture:
    """Two normal components, the one with the lower mean first.

    Attributes:
        means: (2,) mean of each.
        variances: (2,) variance of each, at least ``FLOOR``.
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
        """(2, N) log density of each component, shares left out."""
        apart = (values - self.means[:, None]) ** 2 / self.variances[:, None]
        return np.asarray(-0.5 * (apart + np.log(2 * np.pi * self.variances)[:, None]))

    def turning_point(self) -> tuple[float, bool] | None:
        """Where the log ratio low / high turns, and whether it is highest there; None where it never does."""
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


def fit_gaussian_mixture(
    values: Values, max_iterations: int = 1000, tolerance: float = 1e-6
) -> GaussianMixture:
    """Two normal components, the same whatever the order of the values.

    Args:
        values: (N,) finite, N >= 2, spread over about one unit, such as normalised evidence.
        max_iterations: most steps, >= 1.
        tolerance: stop once a step gains less log likelihood than this, per value.

    Returns:
        The mixture.

    Raises:
        ValueError: fewer than two values.
        TrainingDivergedError: a value is NaN or infinite.

    References:
        Li et al., DivideMix, ICLR 2020, for its use on losses.
    """
    ordered = _checked(values)
    split = otsu_split(ordered)
    groups = (ordered[:split], ordered[split:])
    model = SklearnMixture(
        2,
        tol=tolerance,
        reg_covar=FLOOR,
        max_iter=max_iterations,
        weights_init=[len(group) / len(ordered) for group in groups],
        means_init=[[group.mean()] for group in groups],
        precisions_init=[[[1 / (group.var() + FLOOR)]] for group in groups],
    )
    # sklearn warns where it does not converge; the result says so
    column = ordered[:, None]
    model.fit(column)
    order = np.argsort(model.means_[:, 0], kind="stable")
    return GaussianMixture(
        model.means_[order, 0],
        model.covariances_[order, 0, 0],
        model.weights_[order],
        float(model.score(column)) * len(ordered),
        int(model.n_iter_),
        bool(model.converged_),
    )


def fit_gaussian(values: Values) -> tuple[float, float, float]:
    """One normal component.

    Args:
        values: (N,) finite, N >= 2.

    Returns:
        Mean, variance and the log likelihood summed over the values.

    Raises:
        ValueError: fewer than two values.
        TrainingDivergedError: a value is NaN or infinite.
    """
    ordered = _checked(values)
    spread = float(ordered.var())
    variance = spread + FLOOR
    likelihood = -0.5 * len(ordered) * (math.log(2 * math.pi * variance) + spread / variance)
    return float(ordered.mean()), variance, likelihood


def _checked(values: Values) -> Values:
    ordered = np.sort(check_evidence(values))
    if len(ordered) < 2:
        raise ValueError(f"a mixture needs at least two values, got {len(ordered)}")
    return ordered
