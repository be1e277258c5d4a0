"""Divisions as released code makes them: min-max scaling and a mixture of few steps.

``divide_by_mixture`` is ours: robust scaling, a mixture fitted to convergence, a posterior that never rises
with the evidence, and a test for two groups. Methods take the released one where ``released`` is true.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, expit

from robustcmr.selection.normalise import Values, check_evidence
from robustcmr.types import Division

STEPS, TOLERANCE, LEAST_VARIANCE = 10, 1e-2, 5e-4
"""Most steps, tolerance and floor of the variances of the released mixtures."""
EDGE = 1e-4
"""Scaled evidence is kept this far from 0 and 1 before Beta components are fitted."""
_FIRST_PERCENTILE = 1.0
_CONCENTRATION = 1e-6, 1e6  # bounds of alpha + beta: equal values have no variance to divide by


def gaussian_as_released(evidence: npt.ArrayLike, threshold: float = 0.5) -> Division:
    """Divide pairs by two normal components, as the code released with NCR and its successors does.

    The evidence is scaled to 0..1 by its extremes, so that two outliers set the scale. Where even the
    smallest probability exceeds the threshold, the threshold becomes the first percentile: a hundredth of the
    pairs is always called noisy. The probability may rise again with very high or very low evidence.

    Args:
        evidence: (N,) finite, N >= 2, high where a pair looks mismatched.
        threshold: a pair is clean where its clean probability exceeds this, in (0, 1).

    Raises:
        ValueError: fewer than two values, or no vector.
        TrainingDivergedError: a value is NaN or infinite.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> clean, noisy = rng.normal(0.2, 0.05, 300), rng.normal(0.8, 0.05, 100)
        >>> int(gaussian_as_released(np.concatenate([clean, noisy])).is_clean.sum())
        300

    References:
        Huang et al., NCR, NeurIPS 2021, released code.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture  # slow to import

    given = check_evidence(evidence)
    values = _min_max(given)[:, None]  # (N, 1)
    model = GaussianMixture(2, max_iter=STEPS, tol=TOLERANCE, reg_covar=LEAST_VARIANCE, random_state=0)
    with warnings.catch_warnings():  # ten steps rarely converge, as released
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(values)
    low = int(model.means_.argmin())
    clean = model.predict_proba(values)[:, low]
    return released_division(given, clean, float(model.weights_[1 - low]), threshold)


def beta_as_released(evidence: npt.ArrayLike, threshold: float = 0.5) -> Division:
    """Divide pairs by two Beta components, as the code released with BiCro and others does.

    The evidence is scaled to 0..1 by its extremes. Ten steps start from Beta(1, 2) and Beta(2, 1) in equal
    shares and fit the shapes by weighted mean and variance. The first component is called clean without a
    check that its mean is the lower one. The threshold follows :func:`gaussian_as_released`, and the
    probability may fall with very low evidence, too: two of the three clean pairs that the example calls
    noisy have the lowest evidence of all.

    Args:
        evidence: (N,) finite, N >= 2, high where a pair looks mismatched.
        threshold: a pair is clean where its clean probability exceeds this, in (0, 1).

    Raises:
        ValueError: fewer than two values, or no vector.
        TrainingDivergedError: a value is NaN or infinite.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> clean, noisy = rng.normal(0.2, 0.05, 300), rng.normal(0.8, 0.05, 100)
        >>> int(beta_as_released(np.concatenate([clean, noisy])).is_clean.sum())
        297

    References:
        Yang et al., BiCro, CVPR 2023, released code; Arazo et al., ICML 2019. Departure: a component of equal
        values, for which the released code gives NaN, keeps a finite shape.
    """
    given = check_evidence(evidence)
    values = np.clip(_min_max(given), EDGE, 1 - EDGE)
    alpha, beta, weights = np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.array([0.5, 0.5])
    for _ in range(STEPS):
        clean = _first_posterior(values, alpha, beta, weights)
        for k, share in enumerate((clean, 1 - clean)):
            weights[k] = share.mean()
            if weights[k] > 0:
                alpha[k], beta[k] = _shapes_of_moments(values, share / share.sum())
    clean = _first_posterior(values, alpha, beta, weights)
    return released_division(given, clean, float(weights[1]), threshold)


def _first_posterior(values: Values, alpha: Values, beta: Values, weights: Values) -> Values:
    """(N,) posterior of the first of two Beta components, by logarithms so that nothing underflows."""
    with np.errstate(divide="ignore"):  # an empty component has the logarithm -inf, and the posterior 0
        first, second = (
            np.log(w) + (a - 1) * np.log(values) + (b - 1) * np.log1p(-values) - betaln(a, b)
            for a, b, w in zip(alpha, beta, weights, strict=True)
        )
    return np.asarray(expit(first - second))


def _shapes_of_moments(values: Values, shares: Values) -> tuple[float, float]:
    """Alpha and beta of the mean and variance of values (N,) weighted by shares (N,) that sum to 1."""
    mean = float(shares @ values)
    variance = float(shares @ (values - mean) ** 2)
    low, high = _CONCENTRATION
    concentration = min(max(mean * (1 - mean) / max(variance, 1e-300) - 1, low), high)
    return mean * concentration, (1 - mean) * concentration


def released_division(evidence: Values, clean: Values, noise_rate: float, threshold: float) -> Division:
    """Return the division by a released posterior (N,), of which a hundredth is always called noisy."""
    if clean.min() > threshold:
        threshold = float(np.percentile(clean, _FIRST_PERCENTILE))
    reason = "divided as released, without a test for two groups"
    return Division(clean, threshold, clean > threshold, evidence, True, reason, noise_rate, None)


def _min_max(values: Values) -> Values:
    if len(values) < 2:
        raise ValueError(f"a mixture needs at least two values, got {len(values)}")
    low, high = values.min(), values.max()
    return np.asarray((values - low) / (high - low)) if high > low else np.zeros_like(values)
