"""Two normal components, the noisy one anchored at what pairs look like that were mismatched on purpose."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from robustcmr.selection.normal import NormalPair, normal_log_densities
from robustcmr.selection.normalise import Values, check_evidence

SHIFTS = (0.1, 1.0)
"""Least and most that given wrong pairs lie below the reference, in its spreads: training has seen them."""
APART = 1.5
"""Least distance of the clean mean below the noisy one, in spreads of the reference."""
_CUT = -0.5  # in spreads of the reference: more of the noisy group would be seen below, and more clean pairs
_NARROWEST = 0.05  # of the spread of the reference, or the clean component could shrink onto equal values
_EXTREME = 1e75  # beyond, or below one in so many, squares leave the range of float64


@dataclass(frozen=True)
class AnchoredMixture(NormalPair):
    """Two normal components, the clean one first; the noisy one has the variance of the reference.

    Attributes:
        shift: how far the noisy mean lies below that of the reference, in spreads of it.
    """

    shift: float

    n_parameters = 3

    def scores(self, values: Values) -> Values:
        """(4, N) slope of each log density in its mean and variance; 0 for the anchored component.

        That the shift was fitted is left out: what another one does is seen by holding it there.
        """
        apart = (values - self.means[0]) / self.variances[0]
        zero = np.zeros_like(values)
        return np.stack([apart, 0.5 * (apart**2 - 1 / self.variances[0]), zero, zero])


def fit_anchored_mixture(
    values: Values,
    reference: Values,
    shifts: tuple[float, float] = SHIFTS,
    apart: float = APART,
    max_iterations: int = 1000,
    tolerance: float = 1e-8,
) -> AnchoredMixture:
    """Find the clean component, the shares and the shift of the noisy component, by maximum likelihood.

    What a wrong pair looks like need not be guessed: any image with any other caption is one. Only training
    on the given ones brings them closer than pairs never given, hence the shift: small where each was seen a
    few times by a small matcher, large where a large one begins to learn them by heart. Fitting both
    components freely is far less sure where they overlap.

    Args:
        values: (N,) finite evidence of the given pairs, N >= 2, high where a pair looks wrong.
        reference: (M,) evidence, on the same scale, of pairs mismatched on purpose; M >= 2, not all equal.
        shifts: least and most distance of the noisy mean below that of the reference, in spreads of it,
            0 <= least <= most; nothing is fitted where they are equal.
        apart: least distance of the clean mean below the noisy one, in spreads of the reference, >= 0.
        max_iterations: most steps of expectation and conditional maximisation, >= 1.
        tolerance: stop once a step gains less log likelihood than this, per value.

    Returns:
        The mixture, the same whatever the order of the values and of the reference.

    Raises:
        ValueError: there are fewer than two values on either side, the reference has no spread, the shifts
            are out of order, or numbers are so large or so small that their squares are lost.
        TrainingDivergedError: a value is NaN or infinite.

    References:
        Efron, Large-Scale Inference, 2010, for mixtures of which one component is known; Meng and Rubin,
        1993, for the conditional steps.
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
    least, most = shifts
    if not 0 <= least <= most:
        raise ValueError(f"shifts must be a least and a most, neither below 0, got {least:g} and {most:g}")
    bounds = float(known.mean()) - most * spread, float(known.mean()) - least * spread
    gap, narrowest = apart * spread, _NARROWEST * spread
    means = np.array([min(float(np.quantile(ordered, 0.1)), bounds[1] - gap), bounds[1]])
    variances, share = np.array([spread**2, spread**2]), 0.5
    low, high = _joint(ordered, means, variances, share)
    likelihood, converged, steps = float(np.logaddexp(low, high).mean()), False, 0
    while steps < max_iterations and not converged:
        steps += 1
        in_noisy = expit(high - low)  # (N,)
        # both shares stay possible, or the search could not leave an end
        share = float(np.clip(in_noisy.mean(), 1e-6, 1 - 1e-6))
        belongs = np.stack([1 - in_noisy, in_noisy])  # (2, N)
        counts = np.maximum(belongs.sum(axis=1), np.finfo(np.float64).tiny)
        means = _likeliest_means(belongs @ ordered / counts, counts / variances, bounds, gap)
        variances[0] = max(float(belongs[0] @ (ordered - means[0]) ** 2) / counts[0], narrowest**2)
        low, high = _joint(ordered, means, variances, share)
        total = float(np.logaddexp(low, high).mean())
        converged = total - likelihood < tolerance
        likelihood = total
    weights, total = np.array([1 - share, share]), likelihood * len(ordered)
    shift = least + (bounds[1] - float(means[1])) / spread
    return AnchoredMixture(means, variances, weights, total, steps, converged, shift)


def shift_of_upper_part(values: Values, reference: Values, cut: float = _CUT) -> float:
    """How far values must lie below the reference, if those above a cut have its shape.

    Looks where hardly any clean pair is: the shift at which the reference, moved by it, has the same mean
    above the cut as the values have. Clean pairs above the cut can only make it larger.

    Args:
        values: (N,) finite evidence of the given pairs.
        reference: (M,) evidence, on the same scale, of pairs mismatched on purpose; M >= 2, not all equal.
        cut: how far from the mean of the reference the cut lies, in its spreads.

    Returns:
        The least such shift in spreads of the reference, >= 0; infinite where there is none.
    """
    spread = float(reference.std())
    lowest = float(reference.mean()) + cut * spread
    upper, known = values[values > lowest], np.sort(reference[reference > lowest])
    if len(upper) == 0 or len(known) == 0:
        return math.inf
    # moved down until one falls below the cut, and the mean of those still above it; (K,) each
    moved = np.append(0.0, known[:-1] - lowest)
    means = known[::-1].cumsum()[::-1] / np.arange(len(known), 0, -1) - moved
    fits = np.flatnonzero(means <= upper.mean())
    return float(moved[fits[0]]) / spread if len(fits) else math.inf


def _likeliest_means(means: Values, precisions: Values, bounds: tuple[float, float], gap: float) -> Values:
    """(2,) clean and noisy mean nearest to those found, the noisy one within bounds, the clean one below.

    Nearest by the sum of squares times precision. Where the gap holds the two apart, they move as one.
    """
    noisy = float(np.clip(means[1], *bounds))
    if means[0] > noisy - gap:
        joint = (precisions[0] * (means[0] + gap) + precisions[1] * means[1]) / precisions.sum()
        noisy = float(np.clip(joint, *bounds))
    return np.array([min(float(means[0]), noisy - gap), noisy])


def _joint(values: Values, means: Values, variances: Values, share: float) -> tuple[Values, Values]:
    """Two (N,) log densities, shares included."""
    low, high = normal_log_densities(values, means, variances)
    return low + np.log1p(-share), high + np.log(share)
