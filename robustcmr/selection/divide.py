"""Divide pairs into clean and noisy by their evidence, or report that there is only one group.

Mixture of the scaled evidence x (``divide_by_mixture``), f of Beta or normal shape:

    p(x) = w_1 f_1(x) + w_2 f_2(x),    clean probability = P(1 | x) = w_1 f_1(x) / p(x)

One component is kept unless two gain enough likelihood and lie apart:

    BIC gain  2 (L_2 - L_1) - (P_2 - 2) log n      at least max(10, 0.005 n)
    D         (mu_2 - mu_1) / sqrt((v_1 + v_2) / 2)  at least 2

By a reference R of pairs mismatched on purpose (``divide_by_reference``), x = log(1 + evidence):

    p(x) = (1 - pi) N(x; mu_1, v_1) + pi N(x; mean(R) - shift std(R), var(R))

with mu_1, v_1, pi and shift fitted; pi is the noise rate.

When it does not converge: a fit stops after its last step and its parameters are used as they are. The
likelihood never falls from step to step, so they are no worse than the start; ``converged`` of the mixture
is False. Evidence that has diverged (NaN, infinite) raises ``TrainingDivergedError``. Where the two groups
cannot be distinguished, every pair counts as clean and ``reason`` gives the figures.

Evidence may be a list, a NumPy array or a tensor of any type on any device. It is detached and copied to the
CPU as float64; the division is NumPy.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from robustcmr.selection.anchored_mixture import SHIFTS, fit_anchored_mixture, shift_of_upper_part
from robustcmr.selection.beta_mixture import fit_beta, fit_beta_mixture
from robustcmr.selection.mixture import Mixture, fitted_density, low_posterior
from robustcmr.selection.noise_rate import noise_rate
from robustcmr.selection.normalise import Values, as_array, check_evidence, robust_min_max, robust_range
from robustcmr.types import Division

# Chosen on simulated data; the tests show which groups these values separate.
LEAST_GAIN, LEAST_GAIN_PER_VALUE = 10.0, 0.005
"""BIC gain needed for a second component, in all and per value, as no model fits exactly."""
LEAST_SEPARATION = 2.0
"""D needed for two components."""
LEAST_PAIRS = 20
"""Fewer pairs are never divided."""
LEAST_SHARE = 0.02
"""Least estimated share of either group for a division by a reference."""
_LEAST_SPREAD = 1e-9  # of the reference on its scale; less is rounding


def separation(mixture: Mixture) -> float:
    """Return Ashman's D; two normal groups of equal size and spread have two peaks above 2.

    References:
        Ashman, Bird and Zepf, 1994.
    """
    return float((mixture.means[1] - mixture.means[0]) / math.sqrt(mixture.variances.mean()))


def divide_by_mixture(
    evidence: npt.ArrayLike,
    model: Literal["beta", "gaussian"] = "beta",
    threshold: float = 0.5,
    always: bool = False,
) -> Division:
    """Divide pairs by a two-component mixture of their evidence, if it has two groups.

    The test separates groups; it does not explain them. Flat evidence passes for two normal groups, and a
    spike of equal values beside a broad rest for two groups of either shape. Two groups that overlap too much
    count as one.

    Args:
        evidence: (N,) finite, high where a pair looks mismatched, in any unit, such as
            ``batch_hinge(scores)``.
        model: shape of the components.
        threshold: a pair is clean where its clean probability exceeds this, in (0, 1).
        always: divide even where one group would be reported, as released code does; without an interval.

    Returns:
        The division, in the order of the evidence: NumPy, float64, without gradient.

    Raises:
        ValueError: ``evidence`` is empty or no vector, the model is unknown or the threshold out of range.
        TrainingDivergedError: a value is NaN or infinite.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> clean, noisy = rng.normal(0.2, 0.05, 300), rng.normal(0.8, 0.05, 100)
        >>> found = divide_by_mixture(np.concatenate([clean, noisy]))
        >>> int(found.is_clean.sum()), round(found.noise_rate, 2)
        (300, 0.25)
        >>> from robustcmr.selection import batch_hinge
        >>> scores = np.eye(40)  # any score matrix, given pairs on the diagonal
        >>> scores[:10] = scores[:10][:, np.arange(39, -1, -1)]  # ten images belong to other captions
        >>> divide_by_mixture(batch_hinge(scores)).is_clean[:12].tolist() == [False] * 10 + [True] * 2
        True

    References:
        Arazo et al., ICML 2019 (Beta); Li et al., DivideMix, ICLR 2020 (normal); Han et al., L2RM, CVPR 2024.
        Departures: Beta shapes at maximum likelihood, a posterior that never rises with the evidence, and
        the test for two groups.
    """
    if model not in ("beta", "gaussian"):
        raise ValueError(f"unknown mixture model {model!r}, expected 'beta' or 'gaussian'")
    given = _checked(evidence, threshold)
    values = robust_min_max(given)
    if not values.any():
        return _all_clean(given, threshold, "all pairs have the same evidence")
    n = len(values)
    if n < LEAST_PAIRS:
        return _too_few(given, threshold, n, "pairs")
    mixture: Mixture
    if model == "beta":
        mixture, single = fit_beta_mixture(values), fit_beta(values)[2]
    else:
        from robustcmr.selection.gaussian_mixture import fit_gaussian, fit_gaussian_mixture  # slow to import

        mixture, single = fit_gaussian_mixture(values), fit_gaussian(values)[2]
    gain = 2 * (mixture.log_likelihood - single) - (mixture.n_parameters - 2) * math.log(n)
    apart = separation(mixture)
    found = f"a second component improves BIC by {gain:.0f}, and the means lie {apart:.1f} deviations apart"
    needed = max(LEAST_GAIN, LEAST_GAIN_PER_VALUE * n)
    if not always and (gain < needed or apart < LEAST_SEPARATION):
        reason = f"one group: {found} (needed {needed:.0f} and {LEAST_SEPARATION:g})"
        return _all_clean(given, threshold, reason)
    lowest, highest = robust_range(given)
    density = fitted_density(
        mixture,
        (0.0, 1.0),
        lambda v: (1 - v) * lowest + v * highest,
        lambda v: np.full_like(v, 1 / (highest - lowest)),
        None if model == "beta" else 0.0,
    )
    clean, rate = low_posterior(mixture, values), noise_rate(mixture, values)
    reason, interval = f"two groups: {found}", None if always else (rate.low, rate.high)
    return Division(clean, threshold, clean > threshold, given, True, reason, rate.rate, interval, density)


def divide_by_reference(
    evidence: npt.ArrayLike, reference: npt.ArrayLike, threshold: float = 0.5, log: bool = True
) -> Division:
    """Divide pairs by how much their evidence resembles that of pairs mismatched on purpose.

    Four things are fitted on log(1 + evidence), where the evidence of mismatched pairs is nearly normal: mean
    and variance of the clean component, the noise rate, and the shift of the noisy component from the
    reference. The shift is estimated twice, from all pairs and from the upper tail; clean pairs can bias
    either upwards, so the smaller is used.

    Nothing is divided, and every pair counts as clean, where the noisy or the clean share cannot be told from
    zero. As clean evidence is not quite normal, its upper tail may be fitted as noise; therefore the pairs
    above the middle of the noisy component, half of which must lie there, bound the share as well.

    Args:
        evidence: (N,) finite and >= 0, high where a pair looks mismatched, such as cross entropies.
        reference: (M,) the same of pairs mismatched on purpose.
        threshold: a pair is clean where its clean probability exceeds this, in (0, 1).
        log: fit on log(1 + evidence). False fits on the evidence itself, which may then be negative.

    Returns:
        The division, in the order of the evidence. Its interval covers the sampling error and the effect of
        keeping the reference where it is or moving it slightly further than fitted.

    Raises:
        ValueError: ``evidence`` is empty or no vector, negative with ``log``, or the threshold out of range.
        TrainingDivergedError: a value is NaN or infinite.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> clean, noisy, reference = rng.gamma(1, 0.4, 300), rng.gamma(30, 0.2, 100), rng.gamma(30, 0.2, 400)
        >>> round(divide_by_reference(np.concatenate([clean, noisy]), reference).noise_rate, 2)
        0.25

    References:
        Han et al., L2RM, CVPR 2024, fit both components; the reference is ours.
    """
    given = _checked(evidence, threshold)
    for n, name in ((len(given), "pairs"), (as_array(reference).size, "mismatched pairs")):
        if n < LEAST_PAIRS:
            return _too_few(given, threshold, n, name)
    values, known = given, check_evidence(reference)
    if log:
        least = min(given.min(), known.min())
        if least < 0:
            raise ValueError(f"evidence divided by a reference must be at least 0, got {least:g}")
        values, known = np.log1p(given), np.log1p(known)
    if known.std() < _LEAST_SPREAD:
        return _all_clean(given, threshold, "mismatched pairs all have the same evidence")
    least = SHIFTS[0]
    shift = max(least, min(fit_anchored_mixture(values, known).shift, shift_of_upper_part(values, known)))
    fits = {at: fit_anchored_mixture(values, known, (at, at)) for at in {0.0, least, shift, shift + least}}
    rates = {at: noise_rate(fit, values) for at, fit in fits.items()}
    # Whether there are two groups is tested with a reference that has hardly moved, as a free shift would fit
    # the upper tail of the clean pairs.
    rate, low = rates[least].rate, min(rates[0.0].low, rates[least].low)
    most = _most_noisy(values, float(np.median(known)) - least * float(known.std()))
    found = "of the pairs look like pairs mismatched on purpose"
    if rate < LEAST_SHARE and most == 1:
        rate = most  # all lie above the reference, where a very wide clean component took them
    if rate > 1 - LEAST_SHARE:
        reason = f"one group: about {rate:.1%} {found}, which leaves no clean group to be found"
        return _all_clean(given, threshold, reason)
    if min(rate, most) < LEAST_SHARE or low < LEAST_SHARE / 10:
        reason = f"one group: about {min(rate, most):.1%} {found}, which cannot be told from none"
        return _all_clean(given, threshold, reason)
    low, high = min(each.low for each in rates.values()), max(each.high for each in rates.values())
    reason = f"two groups: between {low:.1%} and {high:.1%} {found}"
    back, slope = (np.expm1, lambda v: np.exp(-v)) if log else (lambda v: v, np.ones_like)
    density = fitted_density(fits[shift], (values.min(), values.max()), back, slope, 0.0 if log else None)
    clean, rate = low_posterior(fits[shift], values), rates[shift].rate
    return Division(clean, threshold, clean > threshold, given, True, reason, rate, (low, high), density)


def _checked(evidence: npt.ArrayLike, threshold: float) -> Values:
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
    return check_evidence(evidence)


def _most_noisy(values: Values, middle: float) -> float:
    """97.5% upper bound of the share of a group half of which lies above ``middle``."""
    n, above = len(values), int((values > middle).sum())
    return min(1.0, 2 * float(betaincinv(above + 1, n - above, 0.975))) if above < n else 1.0


def _too_few(evidence: Values, threshold: float, n: int, name: str) -> Division:
    reason = f"{n} {name} are too few to tell one group from two (needed {LEAST_PAIRS})"
    return _all_clean(evidence, threshold, reason)


def _all_clean(evidence: Values, threshold: float, reason: str) -> Division:
    n = len(evidence)
    return Division(np.ones(n), threshold, np.ones(n, dtype=bool), evidence, False, reason, None, None)
