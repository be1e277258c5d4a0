"""Agreement of a division of the pairs with the hidden truth."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from robustcmr.types import Division, IntArray

CALIBRATION_BINS = 15
"""Equal bins of the mismatch probability, over 0..1."""


@dataclass(frozen=True)
class DivisionDiagnosis:
    """A division compared with the truth; mismatched pairs are the positives.

    All values are shares or probabilities. ``auroc`` to ``f1`` are None unless there are pairs of both kinds.

    Attributes:
        auroc: area under the ROC curve of the mismatch probability; its ties are ordered by the evidence.
        average_precision: of the same ranking.
        precision: share of mismatched pairs among the suspected; None also if no pair is suspected.
        recall: share of suspected pairs among the mismatched.
        f1: harmonic mean of the two; 0 if no mismatched pair is suspected.
        accuracy: share of pairs rightly suspected or rightly called clean.
        calibration_error: expected calibration error of the mismatch probability p, over
            ``CALIBRATION_BINS`` equal bins b of it: sum_b n_b/N |mean p - share mismatched|. A probability
            on a border belongs to the bin above.
        suspected: share of pairs not called clean.
        noise_rate: estimated share of mismatched pairs; None if the method does not estimate it.
        noise_rate_low: lower end of the estimate's 95% interval.
        noise_rate_high: its upper end.
        noise_rate_true: share of mismatched pairs.
        noise_rate_error: estimated minus true share.

    References:
        Naeini, Cooper and Hauskrecht, AAAI 2015 (expected calibration error).
    """

    auroc: float | None
    average_precision: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    accuracy: float
    calibration_error: float
    suspected: float
    noise_rate: float | None
    noise_rate_low: float | None
    noise_rate_high: float | None
    noise_rate_true: float
    noise_rate_error: float | None

    def to_dict(self) -> dict[str, float]:
        """Return all defined values, flat, for JSON and CSV."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


def diagnose_division(division: Division, mismatched: npt.NDArray[np.bool_]) -> DivisionDiagnosis:
    """Compare a division with the truth.

    Args:
        division: the method's estimate of N pairs.
        mismatched: (N,) bool, True if the given image is not the caption's own.

    Raises:
        ValueError: there are no pairs, or ``mismatched`` is not (N,) bool.
    """
    n = len(division.is_clean)
    if n == 0:
        raise ValueError("the division is empty; there is nothing to diagnose")
    if mismatched.shape != (n,) or mismatched.dtype != np.bool_:
        raise ValueError(
            f"mismatched must be a vector of {n} bool, one a pair, got {mismatched.dtype} of shape "
            f"{mismatched.shape}"
        )
    suspected = ~division.is_clean
    hits, n_suspected = int((suspected & mismatched).sum()), int(suspected.sum())
    n_mismatched = int(mismatched.sum())
    auroc = average_precision = precision = recall = f1 = None
    if 0 < n_mismatched < n:
        ranks = _ranks(1 - division.clean_probability, division.evidence)
        auroc = float(roc_auc_score(mismatched, ranks))
        average_precision = float(average_precision_score(mismatched, ranks))
        precision = hits / n_suspected if n_suspected else None
        recall = hits / n_mismatched
        f1 = 2 * hits / (n_suspected + n_mismatched)
    low, high = (None, None) if division.noise_interval is None else division.noise_interval
    rate, true_rate = _finite(division.noise_rate), n_mismatched / n
    return DivisionDiagnosis(
        auroc=auroc,
        average_precision=average_precision,
        precision=precision,
        recall=recall,
        f1=f1,
        accuracy=float((suspected == mismatched).mean()),
        calibration_error=calibration_error(1 - division.clean_probability, mismatched),
        suspected=n_suspected / n,
        noise_rate=rate,
        noise_rate_low=_finite(low),
        noise_rate_high=_finite(high),
        noise_rate_true=true_rate,
        noise_rate_error=None if rate is None else rate - true_rate,
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _ranks(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> IntArray:
    """Return the (N,) place of each item by the first key, then the second; equal keys share a place."""
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    steps = (np.diff(first) != 0) | (np.diff(second) != 0)
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.concatenate([[0], np.cumsum(steps)])
    return ranks


def calibration_error(probability: npt.NDArray[np.float64], outcome: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error of (N,) probabilities in 0..1 of (N,) outcomes."""
    bins = np.minimum((probability * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=probability - outcome)  # the sizes of the bins cancel
    return float(np.abs(gaps).sum() / len(outcome))
