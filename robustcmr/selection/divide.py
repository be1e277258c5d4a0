"""Evidence in, division into clean and noisy pairs out; or the finding that there is nothing to divide."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from robustcmr.selection.anchored_mixture import SHIFTS, fit_anchored_mixture, shift_of_upper_part
from robustcmr.selection.beta_mixture import fit_beta, fit_beta_mixture
from robustcmr.selection.density import fitted_density
from robustcmr.selection.gaussian_mixture import fit_gaussian, fit_gaussian_mixture
from robustcmr.selection.mixture import Mixture, low_posterior
from robustcmr.selection.noise_rate import noise_rate
from robustcmr.selection.normalise import Values, check_evidence, robust_min_max, robust_range
from robustcmr.types import Division

# Set on simulated data: see the tests for what is told apart at these values and what is not.
LEAST_GAIN, LEAST_GAIN_PER_VALUE = 10.0, 0.005
"""How much BIC must fall from one component to two: in all, and per value, as no model fits exactly."""
LEAST_SEPARATION = 2.0
"""Least distance of the two means, in units of the root mean square of the two spreads."""
LEAST_PAIRS = 20
"""Fewer pairs are never divided."""
LEAST_SHARE = 0.02
"""Least estimated share of either group for a division by a reference."""
_LEAST_SPREAD = 1e-9  # of the reference on its scale; less is rounding


def separation(mixture: Mixture) -> float:
    """Ashman's D: distance of the means over the root mean square of the two standard deviations.

    Args:
        mixture: the fitted mixture.

    Returns:
        D >= 0; two equally spread normal groups of equal size show two peaks above 2.

    References:
        Ashman, Bird and Zepf, 1994.
    """
    return float((mixture.means[1] - mixture.means[0]) / math.sqrt(mixture.variances.mean()))


def divide(
    evidence: npt.ArrayLike,
    model: Literal["beta", "gaussian"] = "beta",
    threshold: float = 0.5,
    always: bool = False,
) -> Division:
    """Divide pairs by what speaks against them, where the evidence falls into two groups.

    The evidence is scaled to 0..1, one component and two are fitted, and the two are believed only where they
    are clearly likelier (BIC) and lie clearly apart. Otherwise no pair is called noisy. Clean is whatever
    belongs to the low component with a probability above the threshold.

    Told apart are groups, not causes: flat evidence passes for two normal groups, and a heap of equal values
    beside a broad rest for two groups of either shape. Two groups that overlap too much count as one.

    Args:
        evidence: (N,) finite, high where a pair looks wrong, in any unit.
        model: shape of the components.
        threshold: least probability of being clean, in (0, 1).
        always: divide even where the two groups are not believed, as released code does.

    Returns:
        The division, in the order of the evidence.

    Raises:
        ValueError: ``evidence`` is empty or no vector, the model is unknown or the threshold out of range.
        TrainingDivergedError: a value is NaN or infinite.

    References:
        Arazo et al., ICML 2019 (Beta); Li et al., DivideMix, ICLR 2020 (normal); Han et al., L2RM, CVPR 2024.
        Departures: Beta shapes at maximum likelihood, a posterior that never rises with the evidence, and
        the question whether there are two groups.
    """
    if model not in ("beta", "gaussian"):
        raise ValueError(f"unknown mixture model {model!r}, expected 'beta' or 'gaussian'")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
    given = check_evidence(evidence)
    values = robust_min_max(given)
    if not values.any():
        return _all_clean(given, threshold, "all pairs have the same evidence")
    n = len(values)
    if n < LEAST_PAIRS:
        reason = f"{n} pairs are too few to tell one group from two (needed {LEAST_PAIRS})"
        return _all_clean(given, threshold, reason)
    mixture: Mixture
    if model == "beta":
        mixture, single = fit_beta_mixture(values), fit_beta(values)[2]
    else:
        mixture, single = fit_gaussian_mixture(values), fit_gaussian(values)[2]
    gain = 2 * (mixture.log_likelihood - single) - (mixture.n_parameters - 2) * math.log(n)
    apart = separation(mixture)
    found = f"BIC gains {gain:.0f} by a second component, and the two lie {apart:.1f} spreads apart"
    needed = max(LEAST_GAIN, LEAST_GAIN_PER_VALUE * n)
    if not always and (gain < needed or apart < LEAST_SEPARATION):
        return _all_clean(
            given, threshold, f"one group: {found} (needed {needed:.0f} and {LEAST_SEPARATION:g})"
        )
    probability = low_posterior(mixture, values)
    rate = noise_rate(mixture, values)
    lowest, highest = robust_range(given)
    return Division(
        probability,
        threshold,
        probability > threshold,
        given,
        True,
        f"two groups: {found}",
        rate.rate,
        (rate.low, rate.high),
        fitted_density(
            mixture,
            (0.0, 1.0),
            lambda v: (1 - v) * lowest + v * highest,
            lambda v: np.full_like(v, 1 / (highest - lowest)),
            None if model == "beta" else 0.0,
        ),
    )


def divide_by_reference(
    evidence: npt.ArrayLike, reference: npt.ArrayLike, threshold: float = 0.5
) -> Division:
    """Divide pairs by how much their evidence resembles that of pairs mismatched on purpose.

    Works on log(1 + evidence), where the evidence of mismatched pairs is nearly normal. The noisy group is
    known from the reference but for how far training has moved it; that, the clean group and the shares are
    fitted. How far is found twice, from all pairs and from those above the rest; clean pairs can make either
    too large, so the smaller counts.

    Where the noisy share cannot be told from none, or the clean one from none, nothing is divided and every
    pair counts as clean. As clean evidence is not quite normal, the fit may take its upper tail for a noisy
    group; so pairs are also counted above the middle of the noisy group, where half of it must lie.

    Args:
        evidence: (N,) finite and >= 0, high where a pair looks wrong, such as cross entropies.
        reference: (M,) the same of pairs mismatched on purpose.
        threshold: least probability of being clean, in (0, 1).

    Returns:
        The division, in the order of the evidence. Its interval holds the sampling error and what it does
        to the estimate to hold the reference where it is, or a little further off than fitted.

    Raises:
        ValueError: ``evidence`` is empty or no vector, negative, or the threshold out of range.
        TrainingDivergedError: a value is NaN or infinite.

    References:
        Han et al., L2RM, CVPR 2024, divide by a mixture of which both parts are fitted; this one is ours.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
    given = check_evidence(evidence)
    for n, name in ((len(given), "pairs"), (np.size(reference), "mismatched pairs")):
        if n < LEAST_PAIRS:
            reason = f"{n} {name} are too few to tell one group from two (needed {LEAST_PAIRS})"
            return _all_clean(given, threshold, reason)
    known = check_evidence(reference)
    least = min(given.min(), known.min())
    if least < 0:
        raise ValueError(f"evidence to be divided by a reference must not be negative, got {least:g}")
    values, known = np.log1p(given), np.log1p(known)
    if known.std() < _LEAST_SPREAD:
        return _all_clean(given, threshold, "mismatched pairs all have the same evidence")
    least = SHIFTS[0]
    shift = max(least, min(fit_anchored_mixture(values, known).shift, shift_of_upper_part(values, known)))
    fits = {at: fit_anchored_mixture(values, known, (at, at)) for at in {0.0, least, shift, shift + least}}
    rates = {at: noise_rate(fit, values) for at, fit in fits.items()}
    # whether there are two groups is asked of a reference that has hardly moved: one that may move fits the
    # upper tail of clean pairs too
    rate, low = rates[least].rate, min(rates[0.0].low, rates[least].low)
    most = _most_noisy(values, float(np.median(known)) - least * float(known.std()))
    found = "of the pairs look like pairs mismatched on purpose"
    if rate < LEAST_SHARE and most == 1:
        rate = most  # all lie above the reference, and a very wide clean component took them
    if rate > 1 - LEAST_SHARE:
        reason = f"one group: about {rate:.1%} {found}, which leaves no clean group to be found"
        return _all_clean(given, threshold, reason)
    if min(rate, most) < LEAST_SHARE or low < LEAST_SHARE / 10:
        reason = f"one group: about {min(rate, most):.1%} {found}, which cannot be told from none"
        return _all_clean(given, threshold, reason)
    mixture, rate = fits[shift], rates[shift].rate
    low, high = min(each.low for each in rates.values()), max(each.high for each in rates.values())
    probability = low_posterior(mixture, values)
    return Division(
        probability,
        threshold,
        probability > threshold,
        given,
        True,
        f"two groups: between {low:.1%} and {high:.1%} {found}",
        rate,
        (low, high),
        fitted_density(mixture, (values.min(), values.max()), np.expm1, lambda v: np.exp(-v), 0.0),
    )


def _most_noisy(values: Values, middle: float) -> float:
    """Greatest likely share of a group half of which lies above a point, were nothing else there."""
    n, above = len(values), int((values > middle).sum())
    return min(1.0, 2 * float(betaincinv(above + 1, n - above, 0.975))) if above < n else 1.0


def _all_clean(evidence: Values, threshold: float, reason: str) -> Division:
    n = len(evidence)
    return Division(np.ones(n), threshold, np.ones(n, dtype=bool), evidence, False, reason, None, None)
