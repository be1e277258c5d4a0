"""Two normal components w_k N(mu_k, v_k), fitted by scikit-learn from the split by Otsu."""

from __future__ import annotations

import math

import numpy as np
from sklearn.mixture import GaussianMixture

from robustcmr.selection.mixture import NormalPair, otsu_split
from robustcmr.selection.normalise import Values, check_evidence

FLOOR = 1e-4
"""Added to every variance; without it a component could collapse onto equal values."""


def fit_gaussian_mixture(values: Values, max_iterations: int = 1000, tolerance: float = 1e-6) -> NormalPair:
    """Fit two normal components; the order of the values does not matter.

    Args:
        values: (N,) finite, N >= 2, spread over about one unit, such as normalised evidence.
        max_iterations: most steps, >= 1.
        tolerance: stop once a step gains less log likelihood than this, per value.

    Returns:
        The mixture, each variance at least ``FLOOR``; ``converged`` is False
        where the steps ran out (scikit-learn warns, too).

    Raises:
        ValueError: fewer than two values.
        TrainingDivergedError: a value is NaN or infinite.

    References:
        Li et al., DivideMix, ICLR 2020, for its use on losses.
    """
    ordered = _checked(values)
    split = otsu_split(ordered)
    groups = (ordered[:split], ordered[split:])
    model = GaussianMixture(
        2,
        tol=tolerance,
        reg_covar=FLOOR,
        max_iter=max_iterations,
        weights_init=[len(group) / len(ordered) for group in groups],
        means_init=[[group.mean()] for group in groups],
        precisions_init=[[[1 / (group.var() + FLOOR)]] for group in groups],
    )
    column = ordered[:, None]
    model.fit(column)
    order = np.argsort(model.means_[:, 0], kind="stable")
    return NormalPair(
        model.means_[order, 0],
        model.covariances_[order, 0, 0],
        model.weights_[order],
        float(model.score(column)) * len(ordered),
        int(model.n_iter_),
        bool(model.converged_),
    )


def fit_gaussian(values: Values) -> tuple[float, float, float]:
    """Return mean, variance and summed log likelihood of one normal component of values as above."""
    ordered = _checked(values)
    spread = float(ordered.var())
    variance = spread + FLOOR
    likelihood = -0.5 * len(ordered) * (math.log(2 * math.pi * variance) + spread / variance)
    return float(ordered.mean()), variance, likelihood


def _checked(values: Values) -> Values:
    ordered = np.sort(check_evidence(values))
    if len(ordered) < 2:
        raise ValueError(f"a mixture needs at least two values, got {len(ordered)}")
    return ordered
