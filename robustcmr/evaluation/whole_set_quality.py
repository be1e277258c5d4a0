"""How much of a whole-set rematching reaches images that fit, beside the best score and chance."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustcmr.types import IntArray

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class WholeSetQuality:
    """Shares in 0..1; None where there is nothing to share.

    Attributes:
        plan: of the moved mass, what goes to images that the caption is true of.
        suggestions: captions whose suggested image fits.
        suggestions_same_mass: of as many captions as the mass stands for, those most of which was moved, the
            same.
        best_score: captions whose best-scoring candidate fits.
        best_score_same_mass: of as many captions as the mass stands for, those with the highest best score,
            the same.
        candidates: the plan's mass spread evenly over each caption's candidates.
        chance: any other image of the set in place of a suggestion.
        reachable: captions with a candidate that fits; no rule can get more right.
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
        """All that is defined."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


def evaluate_whole_set(
    fits: BoolArray,
    scores: npt.NDArray[np.float32],
    plan: npt.NDArray[np.float32],
    place: IntArray,
    chance: float,
) -> WholeSetQuality:
    """Hold suggestions for n captions against the truth.

    Args:
        fits: (n, k) bool, whether the caption is true of each candidate, best-scoring first; False where
            there is none.
        scores: (n, k) of the candidates, -inf where there is none.
        plan: (n, k) >= 0, mass moved to each candidate, of 1/n that each caption holds.
        place: (n,) the candidate that is suggested; -1 where there is none.
        chance: share of other images that fit, the mean over captions.

    Returns:
        The shares.

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
    """Share that is right of the ``count`` captions with the largest key, the first where keys tie."""
    if count == 0:
        return None
    return float(right[np.argsort(-key, kind="stable")[:count]].mean())
