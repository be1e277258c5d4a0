"""From the scores of pairs to their probabilities, captions that stand beside several pictures included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from robustcmr.audit.calibration import Calibration
from robustcmr.audit.repeats import (
    group_terms,
    mismatch_log_odds,
    pasted_prior,
    pasted_probability,
    rest_shift,
)
from robustcmr.types import FloatArray, IntArray

Columns = Mapping[str, npt.NDArray[Any]]

SCORES = ("similarity", "agreement", "log_odds", "low", "high")
"""Columns of a scored piece."""

PASTED = 0.5
"""Probability above which a caption counts as pasted beside its pictures."""

FIXED = 2.0**32
"""Terms of a caption are summed as whole numbers of 1 / FIXED, so that their order does not matter."""


@dataclass(frozen=True)
class Repeats:
    """What repeated captions say of all pairs.

    Attributes:
        prior: share of pasted captions among those that stand beside several pictures.
        shift: to add to the log odds of other captions.
    """

    prior: float
    shift: float


def fold_of(image_codes: IntArray, folds: int) -> IntArray:
    """Return the fold of each picture, (n,) in 0 .. folds - 1, by its code alone."""
    return ((image_codes.view(np.uint64) >> np.uint64(7)) % np.uint64(folds)).astype(np.int64)


def score_part(
    images: FloatArray, texts: FloatArray, image_codes: IntArray, calibration: Calibration, device: str
) -> dict[str, FloatArray]:
    """Score the pairs of a part: images (n, D) and texts (n, D) of unit rows -> :data:`SCORES` (n,)."""
    judged = calibration.judge(images, texts, image_codes, fold_of(image_codes, calibration.folds), device)
    return {name: getattr(judged, name) for name in SCORES}


def shares(columns: Columns, calibration: Calibration) -> npt.NDArray[np.float64]:
    """Return the share of random mismatches that the log odds of each pair rest on, (n,) in (0, 1)."""
    model = calibration.model
    share = np.full(len(columns["log_odds"]), model.alone_curve.share.value)
    if model.both_curve is not None:
        share[~np.isnan(columns["agreement"])] = model.both_curve.share.value
    return np.asarray(np.clip(share, 1e-6, 1 - 1e-6))


def fixed_terms(columns: Columns, calibration: Calibration) -> tuple[IntArray, IntArray]:
    """Return the pairs of captions beside several pictures (k,), and their terms of log B times FIXED."""
    chosen = np.flatnonzero(
        (columns["plain_images"] > 1) & (columns["duplicate"] == 0) & ~np.isnan(columns["log_odds"])
    )
    chance = expit(columns["log_odds"][chosen].astype(np.float64))
    terms = group_terms(chance, shares(columns, calibration)[chosen], columns["plain_images"][chosen])
    return chosen, np.round(terms * FIXED).astype(np.int64)


def fit_repeats(
    log_bayes: npt.NDArray[np.float64], log_odds: npt.NDArray[np.float64], calibration: Calibration
) -> Repeats:
    """Estimate what repeated captions say of all pairs.

    Args:
        log_bayes: (g,) log B of repeated captions.
        log_odds: (k,) of pairs whose caption stands beside one picture.
        calibration: that these follow from.
    """
    if not len(log_bayes):
        return Repeats(0.0, 0.0)
    share = float(np.clip(calibration.rate.value, 1e-6, 1 - 1e-6))
    return Repeats(pasted_prior(log_bayes), rest_shift(log_odds, share))


def judge(columns: Columns, repeats: Repeats, calibration: Calibration) -> dict[str, FloatArray]:
    """Return the probabilities of the pairs of a piece; NaN where they have no scores.

    Args:
        columns: :data:`SCORES`, ``plain_images`` and ``log_bayes``, (n,) each.
        repeats: what repeated captions say.
        calibration: that the scores follow from.

    Returns:
        ``score``, the log odds that the caption belongs to the picture; ``p_mismatch``, ``p_low`` and
        ``p_high``, the probability that it does not with the ends of its interval; and ``pasted``, the
        probability that the caption was pasted beside its pictures; (n,) each.
    """
    images = columns["plain_images"]
    pasted = np.zeros(len(images))
    repeated = (images > 1) & ~np.isnan(columns["log_bayes"])
    pasted[repeated] = pasted_probability(columns["log_bayes"][repeated], repeats.prior)
    if "log_odds" not in columns:  # no pair of the piece was scored
        nothing = np.full(len(images), np.nan, np.float32)
        return dict.fromkeys(("score", "p_mismatch", "p_low", "p_high", "pasted"), nothing)
    share = shares(columns, calibration)
    odds = {
        name: mismatch_log_odds(
            columns[name].astype(np.float64), pasted, share, np.where(repeated, images, 1), repeats.shift
        )
        for name in ("log_odds", "low", "high")
    }
    found = {
        "score": -odds["log_odds"],
        "p_mismatch": expit(odds["log_odds"]),
        "p_low": expit(odds["low"]),
        "p_high": expit(odds["high"]),
        "pasted": pasted,
    }
    return {name: values.astype(np.float32) for name, values in found.items()}
