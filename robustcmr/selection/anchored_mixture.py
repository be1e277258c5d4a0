"""Two normal components, the noisy one anchored at pairs mismatched on purpose.

    p(x) = (1 - pi) N(x; mu_1, v_1) + pi N(x; mu_2, v_R),    mu_2 = mean(R) - shift std(R)

Fitted by expectation and conditional maximisation: mu_1, v_1, pi and, within bounds, mu_2. The variance v_R
is the reference's, and mu_1 <= mu_2 - apart std(R). The likelihood never falls; where ``max_iterations`` run
out, the parameters of the last step are returned with ``converged`` False.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from robustcmr.selection.mixture import NormalPair, normal_log_densities
from robustcmr.selection.normalise import Values, check_evidence

SHIFTS = (0.1, 1.0)
"""Bounds of the shift in units of std(R): training has seen the given mismatches, not the reference."""
APART = 1.5
"""Least distance of the clean mean below the noisy one, in units of std(R)."""
_CUT = -0.5  # in units of std(R); a lower cut would include more clean pairs
_NARROWEST = 0.05  # least clean standard deviation in units of std(R); 0 would collapse onto equal values
_EXTREME = 1e75  # squares of larger numbers, or of smaller than its inverse, leave the range of float64


@dataclass(frozen=True)
class AnchoredMixture(NormalPair):
    """Two normal components, the clean one first; the noisy one has the variance of the reference.

    Attributes:
        shift: distance of the noisy mean below mean(R), in units of std(R).
    """

    shift: float

    n_parameters = 3

    def scores(self, values: Values) -> Values:
        """(4, N) slope of each log density in its mean and variance; 0 for the anchored component.

        The shift is treated as known; its effect is measured by refitting with other fixed shifts.
        """
        slopes = super().scores(values)
        slopes[2:] = 0.0
        return slopes


def fit_anchored_mixture(
    values: Values,
    reference: Values,
    shifts: tuple[float, float] = SHIFTS,
    apart: float = APART,
    max_iterations: int = 1000,
    tolerance: float = 1e-8,
) -> AnchoredMixture:
    """Fit the clean component, the share pi and the shift by maximum likelihood.

    Any image with any other caption is a mismatched pair, so the noisy component is known up to a shift:
    training on the given mismatches brings them closer than pairs never given, the more the larger the
    matcher. Fitting both components freely is far less reliable where they overlap.

    Args:
        values: x, (N,) finite evidence of the given pairs, N >= 2, high where a pair looks mismatched.
        reference: R, (M,) evidence of pairs mismatched on purpose, on the same scale; M >= 2, not all equal.
        shifts: bounds of the shift in units of std(R), 0 <= least <= most; equal bounds fix it.
        apart: least distance of the clean mean below the noisy one, in units of std(R), >= 0.
        max_iterations: most steps, >= 1.
        tolerance: stop once a step gains less log likelihood than this, per value.

    Returns:
        The mixture; the order of the values and of the reference does not matter.

    Raises:
        ValueError: there are fewer than two values on either side, the reference has no spread, the shifts
            are out of order, or squares of the numbers leave the range of float64.
        TrainingDivergedError: a value is NaN or infinite.

    References:
        Efron, Large-Scale Inference, 2010, for mixtures with one known component; Meng and Rubin, 1993, for
        the conditional steps.
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
        # a share of exactly 0 or 1 would never change again
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
    """Return the shift at which the shifted reference has the same mean above the cut as the values.

    Hardly any clean pair lies above the cut, and those that do can only raise the result.

    Args:
        values: see :func:`fit_anchored_mixture`.
        reference: R, likewise.
        cut: distance of the cut from mean(R), in units of std(R).

    Returns:
        The least such shift in units of std(R), >= 0; infinite where there is none.
    """
    spread = float(reference.std())
    lowest = float(reference.mean()) + cut * spread
    upper, known = values[values > lowest], np.sort(reference[reference > lowest])
    if len(upper) == 0 or len(known) == 0:
        return math.inf
    # shifts at which one more value falls below the cut, and the mean of those still above it; (K,) each
    moved = np.append(0.0, known[:-1] - lowest)
    means = known[::-1].cumsum()[::-1] / np.arange(len(known), 0, -1) - moved
    fits = np.flatnonzero(means <= upper.mean())
    return float(moved[fits[0]]) / spread if len(fits) else math.inf


def _likeliest_means(means: Values, precisions: Values, bounds: tuple[float, float], gap: float) -> Values:
    """(2,) clean and noisy mean nearest to ``means``, weighted by precision, at least ``gap`` apart."""
    noisy = float(np.clip(means[1], *bounds))
    if means[0] > noisy - gap:
        joint = (precisions[0] * (means[0] + gap) + precisions[1] * means[1]) / precisions.sum()
        noisy = float(np.clip(joint, *bounds))
    return np.array([min(float(means[0]), noisy - gap), noisy])


def _joint(values: Values, means: Values, variances: Values, share: float) -> tuple[Values, Values]:
    """Log densities of both components, (N,) each, shares included."""
    low, high = normal_log_densities(values, means, variances)
    return low + np.log1p(-share), high + np.log(share)
