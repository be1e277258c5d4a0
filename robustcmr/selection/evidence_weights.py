"""One number from several kinds of evidence, weighted so as to tell given pairs from mismatched ones.

With features x of given pairs, weighted by the belief in each, and of pairs mismatched on purpose:

    log-odds of a mismatch  s = b + w x,  by logistic regression

No label is used. Where the given mismatches look like those made on purpose, the same w separates clean pairs
from them.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from robustcmr.selection.normalise import Values

_RIDGE = 1e-3  # per unit of weight; features that tell nothing stay at 0
_LEAST_BELIEF = 1e-3
_STEPS, _TOLERANCE = 50, 1e-8


def learned_evidence(given: Values, mismatched: Values, belief: Values) -> tuple[Values, Values]:
    """Return the log-odds s of a mismatch of given and mismatched pairs, the evidence against them.

    Args:
        given: (N, K) finite features of the given pairs, in any units.
        mismatched: (M, K) of pairs mismatched on purpose, M >= 1.
        belief: (N,) in 0..1, how surely each given pair is clean.

    Returns:
        (N,) and (M,) float64, high where a pair looks mismatched.

    Raises:
        ValueError: shapes do not fit.

    Example:
        >>> import numpy as np
        >>> given = np.array([[0.1, 5.0], [0.2, 5.0], [0.9, 5.0]])
        >>> evidence, _ = learned_evidence(given, np.array([[0.8, 5.0], [1.0, 5.0]]), np.ones(3))
        >>> evidence.argmax()
        np.int64(2)

    References:
        Elkan and Noto, Learning classifiers from only positive and unlabeled data, KDD 2008, for classifiers
        of which one side is mixed.
    """
    if given.ndim != 2 or mismatched.ndim != 2 or given.shape[1] != mismatched.shape[1]:
        raise ValueError(f"expected features (N, K) and (M, K), got {given.shape} and {mismatched.shape}")
    if belief.shape != given.shape[:1] or len(mismatched) == 0:
        raise ValueError(f"expected one belief a pair and mismatched pairs, got {belief.shape}")
    x = np.vstack([given, mismatched]).astype(np.float64)
    spread = x.std(0)
    x = (x - x.mean(0)) / np.where(spread > 1e-9, spread, np.inf)  # a constant feature becomes 0
    x = np.column_stack([np.ones(len(x)), x])
    wrong = np.arange(len(x)) >= len(given)
    weights = np.where(wrong, 1 / len(mismatched), 0.0)
    trusted = belief + _LEAST_BELIEF
    weights[: len(given)] = trusted / trusted.sum()
    w = np.zeros(x.shape[1])
    ridge = np.diag(np.append(0.0, np.full(len(w) - 1, _RIDGE)))
    for _ in range(_STEPS):
        p = expit(x @ w)
        slope = x.T @ (weights * (p - wrong)) + ridge @ w
        curve = (x * (weights * np.maximum(p * (1 - p), 1e-6))[:, None]).T @ x + ridge
        step = np.linalg.solve(curve, slope)
        step *= min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))  # far steps could overshoot
        w -= step
        if float(np.abs(step).max()) < _TOLERANCE:
            break
    evidence = x @ w
    return evidence[: len(given)], evidence[len(given) :]
