"""Divisions as released code makes them: min-max scaling and a mixture of few steps.

``divide_by_mixture`` is ours: robust scaling, a mixture fitted to convergence, a posterior that never rises
with the evidence, and a test for two groups. Methods take the released one where ``released`` is true.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustcmr.selection.normalise import Values, check_evidence
from robustcmr.types import Division

STEPS, TOLERANCE, LEAST_VARIANCE = 10, 1e-2, 5e-4
"""Most steps, tolerance and floor of the variances of the released mixture."""
_FIRST_PERCENTILE = 1.0


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
    from sklearn.mixture import GaussianMixture  # slow to import

    given = check_evidence(evidence)
    values = _min_max(given)[:, None]  # (N, 1)
    model = GaussianMixture(2, max_iter=STEPS, tol=TOLERANCE, reg_covar=LEAST_VARIANCE, random_state=0)
    model.fit(values)
    low = int(model.means_.argmin())
    clean = model.predict_proba(values)[:, low]
    return released_division(given, clean, float(model.weights_[1 - low]), threshold)


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
