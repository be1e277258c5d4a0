"""Two normal components, the noisy one anchored at what pairs look like that were mismatched on purpose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from robustcmr.selection.normal import NormalPair, normal_log_densities
from robustcmr.selection.normalise import Values, check_evidence

SHIFT = 0.1
"""How far the given wrong pairs lie below the reference, in its spreads: training has seen them."""
APART = 1.5
"""Least distance of the clean mean below the noisy one, in spreads of the reference."""
_NARROWEST = 0.05  # of the spread of the reference, or the clean component could shrink onto equal values
_EXTREME = 1e75  # beyond, or below one in so many, squares leave the range of float64


@dataclass(frozen=True)
class AnchoredMixture(NormalPair):
    """Two normal components, the clean one first; mean and variance of the noisy one are not fitted."""

    n_parameters = 3

    def scores(self, values: Values) -> Values:
        """(4, N) slope of each log density in its mean and variance; 0 for the anchored component."""
        apart = (values - self.means[0]) / self.variances[0]
        zero = np.zeros_like(values)
        return np.stack([apart, 0.5 * (apart**2 - 1 / self.variances[0]), zero, zero])


def fit_anchored_mixture(
    values: Values,
    reference: Values,
    shift: float = SHIFT,
    apart: float = APART,
    max_iterations: int = 1000,
    tolerance: float = 1e-8,
) -> AnchoredMixture:
    """Find the clean component and the shares, by expectation maximisation; the noisy component is given.

    What a wrong pair looks like need not be guessed: any image with any other caption is one. Only training
    on the given ones brings them a little closer than pairs never given, hence ``shift``. Fitting both
    components freely is far less sure where they overlap.

    Args:
        values: (N,) finite evidence of the given pairs, N >= 2, high where a pair looks wrong.
        reference: (M,) evidence, on the same scale, of pairs mismatched on purpose; M >= 2, not all equal.
        shift: distance of the noisy mean below that of the reference, in spreads of it, >= 0.
        apart: least distance of the clean mean below the noisy one, in spreads of the reference, >= 0.
        max_iterations: most steps, >= 1.
        tolerance: stop once a step gains less log likelihood than this, per value.

    Returns:
        The mixture, the same whatever the order of the values and of the reference.

    Raises:
        ValueError: there are fewer than two values on either side, the reference has no spread, or numbers
            are so large or so small that their squares are lost.
        TrainingDivergedError: a value is NaN or infinite.

    References:
        Efron, Large-Scale Inference, 2010, for mixtures of which one component is known.
    """
    ordered, known = np.sort(check_evidence(values)), np.sort(check_evidence(reference))
    with np.errstate(over="ignore"):
        spread = float(known.std()) if known[0] < known[-1] else 0.0  # rounding gives equal values some, too
    if len(ordered) < 2 or not 1 / _EXTREME < spread < _EXTREME:
        raise ValueError(
            "an anchored mixture needs two or more values and a reference that is not all equal, "
            f"got {len(ordered)} values and a reference of {len(known)} with a spread of {spread:g}"
        )
    furthest = float(np.abs(ordered[[0, -1]]).max())
    if furthest > _EXTREME:
        raise ValueError(f"an anchored mixture needs values within {_EXTREME:g} of 0, got {furthest:g}")
    noisy_mean = float(known.mean()) - shift * spread
    highest, narrowest = noisy_mean - apart * spread, _NARROWEST * spread
    means = np.array([min(float(np.quantile(ordered, 0.1)), highest), noisy_mean])
    variances, share = np.array([spread**2, spread**2]), 0.5
    low, high = _joint(ordered, means, variances, share)
    likelihood, converged, steps = float(np.logaddexp(low, high).mean()), False, 0
    while steps < max_iterations and not converged:
        steps += 1
        in_noisy = expit(high - low)  # (N,)
        # both shares stay possible, or the search could not leave an end
        share = float(np.clip(in_noisy.mean(), 1e-6, 1 - 1e-6))
        in_clean = 1 - in_noisy
        weight = max(float(in_clean.sum()), np.finfo(np.float64).tiny)
        means[0] = min(float(in_clean @ ordered) / weight, highest)
        variances[0] = max(float(in_clean @ (ordered - means[0]) ** 2) / weight, narrowest**2)
        low, high = _joint(ordered, means, variances, share)
        total = float(np.logaddexp(low, high).mean())
        converged = total - likelihood < tolerance
        likelihood = total
    return AnchoredMixture(
        means, variances, np.array([1 - share, share]), likelihood * len(ordered), steps, converged
    )


def _joint(values: Values, means: Values, variances: Values, share: float) -> tuple[Values, Values]:
    """Two (N,) log densities, shares included."""
    low, high = normal_log_densities(values, means, variances)
    return low + np.log1p(-share), high + np.log(share)
