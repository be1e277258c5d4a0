"""Fitted groups as curves over the evidence, to be drawn."""

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
    """The two components of a mixture in the unit of the evidence.

    Args:
        mixture: fitted to evidence on a scale of its own.
        ends: from where to where on the scale of the mixture.
        unscale: from the scale of the mixture to the unit of the evidence, rising.
        slope: how fast the scale rises with the evidence, at points on the scale.
        lowest: no evidence lies below this point of the scale; what a component puts there is mirrored to the
            other side. None for components that put nothing where nothing can be.

    Returns:
        Curves over points that are evenly spaced on the scale of the mixture; densities times shares.

    References:
        Silverman, Density Estimation, 1986, section 2.10, for mirroring.
    """
    grid = np.linspace(*ends, _POINTS)
    heights = np.exp(mixture.log_densities(grid))  # (2, K)
    if lowest is not None:
        heights += np.exp(mixture.log_densities(2 * lowest - grid))
    heights *= mixture.weights[:, None] * slope(grid)
    return FittedDensity(unscale(grid), heights[0], heights[1])
