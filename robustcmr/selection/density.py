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
    evidence: Values,
    scale: Callable[[Values], Values],
    slope: Callable[[Values], Values],
) -> FittedDensity:
    """The two components of a mixture over the range of the evidence, in its unit.

    Args:
        mixture: fitted to ``scale(evidence)``.
        evidence: (N,) as it was gathered.
        scale: from the unit of the evidence to that of the mixture, rising.
        slope: derivative of ``scale``.

    Returns:
        Curves over evenly spaced evidence; densities times shares.
    """
    grid = np.linspace(evidence.min(), evidence.max(), _POINTS)
    heights = np.exp(mixture.log_densities(scale(grid))) * mixture.weights[:, None] * slope(grid)
    return FittedDensity(grid, heights[0], heights[1])
