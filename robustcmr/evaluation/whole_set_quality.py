"""Precision of a whole-set rematching, against the best score and chance."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustcmr.types import IntArray

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class WholeSetQuality:
    """Shares in 0..1 of images that fit, that is, that their caption is true of; None if undefined.

    Attributes:
        plan: share of the moved mass on images that fit.
        suggestions: share of captions whose suggested image fits.
        suggestions_same_mass: the same among only as many captions as the moved mass amounts to, those with
            the most mass moved.
        best_score: share of captions whose best-scoring candidate fits.
        best_score_same_mass: the same among as many captions, those with the highest best score.
        candidates: as ``plan``, with each caption's mass spread evenly over its candidates.
        chance: as ``suggestions``, with any other image of the set.
        reachable: share of captions with a candidate that fits; the upper bound of every rule.
    """

    plan: float | None
    suggestions: float
    suggestions_same_mass: float | None
    best_score: float
    best_score_same_mass: float | None
    candidates: float | None
    chance: float
    reachable: float

    def to_dict(self) -> dict[str, float]:
        """Return the defined shares."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


def evaluate_whole_set(
    fits: BoolArray,
    scores: npt.NDArray[np.float32],
    plan: npt.NDArray[np.float32],
    place: IntArray,
    chance: float,
) -> WholeSetQuality:
    """Evaluate suggestions for n captions against the truth.

    Args:
        fits: (n, k) bool, whether the caption is true of each candidate, best-scoring first; False for none.
        scores: (n, k) of the candidates, -inf for none.
        plan: (n, k) >= 0, mass moved to each candidate, out of 1/n per caption.
        place: (n,) the candidate suggested; -1 for none.
        chance: share of other images that fit, averaged over captions.

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
    return WholeSetQuality(
        plan=float((plan * fits).sum(dtype=np.float64)) / mass if mass > 0 else None,
        suggestions=float(suggested.mean()),
        suggestions_same_mass=_of_first(by_row, suggested, count),
        best_score=float(best.mean()),
        best_score_same_mass=_of_first(scores[:, 0], best, count),
        candidates=float((among * by_row).sum()) / mass if mass > 0 else None,
        chance=chance,
        reachable=float(fits.any(axis=1).mean()),
    )


def _of_first(key: npt.NDArray[np.floating], right: BoolArray, count: int) -> float | None:
    """Return the share right of the ``count`` captions with the largest keys; of ties the first."""
    if count == 0:
        return None
    return float(right[np.argsort(-key, kind="stable")[:count]].mean())
