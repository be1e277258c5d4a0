"""How much noise is there? The share of the upper component, with an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, ndtri

from robustcmr.selection.mixture import Mixture, log_ratio
from robustcmr.selection.normalise import Values


@dataclass(frozen=True)
class NoiseRate:
    """Estimated share of pairs in the upper component.

    Attributes:
        rate: in (0, 1).
        low: lower end of the interval.
        high: upper end of the interval.
    """

    rate: float
    low: float
    high: float


def noise_rate(mixture: Mixture, values: Values, confidence: float = 0.95) -> NoiseRate:
    """Share of the upper component and how well the values determine it.

    The interval is the asymptotic one on the scale of log odds, with the information estimated by the outer
    products of the per-value slopes in all parameters together; that the shapes are estimated too widens it.
    It takes the mixture for granted: where the components have another shape, the share is off by more.

    Args:
        mixture: fitted to ``values`` at maximum likelihood.
        values: (N,) on the scale of the mixture.
        confidence: how often the interval shall cover the true share, in (0, 1).

    Returns:
        Estimate and interval.

    Raises:
        ValueError: ``confidence`` lies outside (0, 1).

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
    information = rows @ rows.T  # the share's slope is in its log odds
    scale = np.sqrt(np.maximum(information.diagonal(), np.finfo(np.float64).tiny))
    inverse = np.linalg.pinv(information / scale[:, None] / scale, rcond=1e-12, hermitian=True)
    error = float(np.sqrt(max(inverse[0, 0], 0.0)) / scale[0])
    reach = float(ndtri(0.5 + confidence / 2)) * error
    return NoiseRate(share, float(expit(logit(share) - reach)), float(expit(logit(share) + reach)))


def at_noise_rate(clean_probability: Values, rate: float, other: float) -> Values:
    """What probabilities of being clean would be, were another share of all pairs noisy.

    The evidence weighs as before; only the odds before it is seen are others.

    Args:
        clean_probability: (N,) in [0, 1], found where a share ``rate`` was noisy.
        rate: that share, in (0, 1).
        other: the other share, in (0, 1).

    Returns:
        (N,) in [0, 1].

    Raises:
        ValueError: a share lies outside (0, 1).
    """
    if not (0 < rate < 1 and 0 < other < 1):
        raise ValueError(f"shares must lie between 0 and 1, got {rate} and {other}")
    clean = clean_probability * (1 - other) / (1 - rate)
    return np.asarray(clean / (clean + (1 - clean_probability) * other / rate))
