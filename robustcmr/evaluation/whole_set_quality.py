"""Precision of a whole-set rematching, against the best score and chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robustcmr.types import IntArray

BoolArray = npt.NDArray[np.bool_]


def evaluate_whole_set(
    fits: BoolArray,
    scores: npt.NDArray[np.float32],
    plan: npt.NDArray[np.float32],
    place: IntArray,
    chance: float,
) -> dict[str, float]:
    """Evaluate suggestions for n captions against the truth.

    Args:
        fits: (n, k) bool, whether the caption is true of each candidate, best-scoring first; False for none.
        scores: (n, k) of the candidates, -inf for none.
        plan: (n, k) >= 0, mass moved to each candidate, out of 1/n per caption.
        place: (n,) the candidate suggested; -1 for none.
        chance: share of other images that fit, averaged over captions.

    Returns:
        Shares in 0..1, those that are defined, of images that fit, that is, that their caption is true of:

        - ``plan``: of the moved mass;
        - ``suggestions``: of captions whose suggested image fits;
        - ``suggestions_same_mass``: the same among only as many captions as the moved mass amounts to, those
          with the most mass moved;
        - ``best_score``: of captions whose best-scoring candidate fits;
        - ``best_score_same_mass``: the same among as many captions, those with the highest best score;
        - ``candidates``: as ``plan``, with each caption's mass spread evenly over its candidates;
        - ``chance``: as ``suggestions``, with any other image of the set;
        - ``reachable``: of captions with a candidate that fits; the upper bound of every rule.

    Raises:
        ValueError: shapes do not fit, or there is no caption.
    """
    n = len(fits)
    if n == 0 or not fits.shape == scores.shape == plan.shape or place.shape != (n,):
        raise ValueError(
            f"expected fits, scores and plan of one shape (n, k) and place (n,), got {fits.shape}, "
            f"{scores.shape}, {plan.shape} and {place.shape}"
        )
    rows = np.arange(n)
    suggested = (place >= 0) & fits[rows, place]
    best = fits[:, 0]
    by_row = plan.sum(axis=1, dtype=np.float64)  # (n,)
    mass = float(by_row.sum())
    count = min(n, max(1, round(mass * n))) if mass > 0 else 0
    there = np.isfinite(scores)  # (n, k)
    among = (fits & there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)  # (n,)
    found = {
        "suggestions": float(suggested.mean()),
        "best_score": float(best.mean()),
        "chance": chance,
        "reachable": float(fits.any(axis=1).mean()),
    }
    if count:
        found["plan"] = float((plan * fits).sum(dtype=np.float64)) / mass
        found["suggestions_same_mass"] = _of_first(by_row, suggested, count)
        found["best_score_same_mass"] = _of_first(scores[:, 0], best, count)
        found["candidates"] = float((among * by_row).sum()) / mass
    return found


def _of_first(key: npt.NDArray[np.floating], right: BoolArray, count: int) -> float:
    """Return the share right of the ``count`` captions with the largest keys; of ties the first."""
    return float(right[np.argsort(-key, kind="stable")[:count]].mean())
