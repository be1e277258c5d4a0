"""Noise rate: the share pi of the upper component, with an interval.

With per-value scores s_i (slopes of the log likelihood in logit(pi) and all shapes) and I = sum_i s_i s_i':

    logit(pi) +- z sqrt((I^-1)_11)

A singular I is inverted by its pseudo-inverse, so the interval exists even where a shape is at its bound.

Shapes that do not fit and numbers out of range raise ``ValueError``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit, ndtri

from robustcmr.selection.mixture import Mixture, log_ratio
from robustcmr.selection.normalise import Values


class NoiseRate(NamedTuple):
    """Estimated share of pairs in the upper component, in (0, 1), and the ends of its interval."""

    rate: float
    low: float
    high: float


def noise_rate(mixture: Mixture, values: Values, confidence: float = 0.95) -> NoiseRate:
    """Return the share of the upper component and its asymptotic interval on the scale of log odds.

    The information comes from the outer products of the per-value scores of all parameters, so uncertain
    shapes widen the interval. It assumes that the components have the fitted shape.

    Args:
        mixture: fitted to ``values`` at maximum likelihood.
        values: (N,) on the scale of the mixture.
        confidence: coverage of the interval, in (0, 1).

    References:
        McLachlan and Peel, Finite Mixture Models, 2000, section 2.15.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    share = float(mixture.weights[1])
    in_high = expit(-log_ratio(mixture, values))  # (N,)
    slopes = mixture.scores(values)  # (P, N)
    half = len(slopes) // 2
    rows = np.vstack([in_high - share, slopes[:half] * (1 - in_high), slopes[half:] * in_high])
    information = rows @ rows.T  # the first row is the slope in logit(pi)
    scale = np.sqrt(np.maximum(information.diagonal(), np.finfo(np.float64).tiny))
    inverse = np.linalg.pinv(information / scale[:, None] / scale, rcond=1e-12, hermitian=True)
    error = float(np.sqrt(max(inverse[0, 0], 0.0)) / scale[0])
    reach = float(ndtri(0.5 + confidence / 2)) * error
    return NoiseRate(share, float(expit(logit(share) - reach)), float(expit(logit(share) + reach)))


def at_noise_rate(clean_probability: Values, rate: float, other: float) -> Values:
    """Return the clean probabilities under another prior share of noisy pairs.

    Only the prior odds change; the evidence weighs as before.

    Args:
        clean_probability: (N,) in [0, 1], found at noise rate ``rate``.
        rate: in (0, 1).
        other: the new noise rate, in (0, 1).

    Returns:
        (N,) in [0, 1].

    Example:
        >>> import numpy as np
        >>> at_noise_rate(np.array([0.2, 0.5]), rate=0.8, other=0.5)
        array([0.5, 0.8])
    """
    if not (0 < rate < 1 and 0 < other < 1):
        raise ValueError(f"noise rates must lie between 0 and 1, got {rate} and {other}")
    clean = clean_probability * (1 - other) / (1 - rate)
    return np.asarray(clean / (clean + (1 - clean_probability) * other / rate))
