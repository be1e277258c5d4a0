"""What every two-component mixture can answer, whatever the shape of its components."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.special import expit

from robustcmr.selection.normalise import Values


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
        """(2, N) log density of each component, shares left out."""
        ...

    def turning_point(self) -> tuple[float, bool] | None:
        """Where the log ratio low / high turns, and whether it is highest there; None where it never does."""
        ...

    def scores(self, values: Values) -> Values:
        """(P, N) slopes of the log densities in their own parameters; first half the low component's."""
        ...


def log_ratio(mixture: Mixture, values: Values) -> Values:
    """Logarithm of how much likelier each value is under the low component, shares included.

    Args:
        mixture: the fitted mixture.
        values: (N,) on the scale the mixture was fitted on.

    Returns:
        (N,) float64.
    """
    low, high = mixture.log_densities(values)
    return np.asarray(np.log(mixture.weights[0]) - np.log(mixture.weights[1]) + low - high)


def low_posterior(mixture: Mixture, values: Values) -> Values:
    """Probability that each value comes from the low component, never rising with the value.

    The plain posterior can turn around: where the low component is the narrower one, the smallest values of
    all are likelier under the wide high one; where it is the wider one, the same happens to the largest. For
    Beta and normal components there is at most one such point, and the posterior is held constant beyond it.

    Args:
        mixture: the fitted mixture.
        values: (N,) on the scale the mixture was fitted on.

    Returns:
        (N,) in [0, 1].
    """
    turn = mixture.turning_point()
    held = values
    if turn is not None:
        point, highest = turn
        held = np.maximum(values, point) if highest else np.minimum(values, point)
    posterior = np.asarray(expit(log_ratio(mixture, held)), dtype=np.float64)
    order = np.argsort(values, kind="stable")
    posterior[order] = np.minimum.accumulate(posterior[order])  # rounding must not raise it either
    return posterior


def otsu_split(ordered: Values) -> int:
    """How many of the sorted values make the lower group, so that the two groups' means differ most.

    Args:
        ordered: (N,) rising, N >= 2.

    Returns:
        1 .. N-1, maximising the variance between the groups.

    References:
        Otsu, 1979.
    """
    n = len(ordered)
    counts = np.arange(1, n, dtype=np.float64)
    sums = np.cumsum(ordered)
    between = (sums[:-1] / counts - (sums[-1] - sums[:-1]) / (n - counts)) ** 2 * counts * (n - counts)
    return int(np.argmax(between)) + 1
