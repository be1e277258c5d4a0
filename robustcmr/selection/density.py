"""Fitted components as curves over the evidence, for plots."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from robustcmr.selection.mixture import Mixture
from robustcmr.selection.normalise import Values
from robustcmr.types import FittedDensity

_POINTS = 400


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
    grid = np.linspace(*ends, _POINTS)
    heights = np.exp(mixture.log_densities(grid))  # (2, K)
    if lowest is not None:
        heights += np.exp(mixture.log_densities(2 * lowest - grid))
    heights *= mixture.weights[:, None] * slope(grid)
    return FittedDensity(unscale(grid), heights[0], heights[1])
