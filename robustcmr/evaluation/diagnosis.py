"""How well a division of the pairs agrees with which of them really are mismatched."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from robustcmr.types import Division, IntArray

CALIBRATION_BINS = 15
"""Equally wide bins of the probability of being mismatched, over 0..1."""


@dataclass(frozen=True)
class DivisionDiagnosis:
    """A division against the truth; to be found are the mismatched pairs. All are shares or probabilities.

    What compares mismatched pairs with right ones (``auroc`` to ``f1``) is None unless there are both.

    Attributes:
        auroc: probability that a mismatched pair is ranked before a right one, ties counted half. Ranked by
            the probability of being mismatched and, where that ties, by the evidence.
        average_precision: of the same ranking.
        precision: mismatched among the suspected; None also where no pair is suspected.
        recall: suspected among the mismatched.
        f1: harmonic mean of the two; 0 where no mismatched pair is suspected.
        accuracy: pairs that are rightly called suspected or clean.
        calibration_error: expected calibration error of the probability of being mismatched: the mean over
            pairs of how far their bin's mean probability lies from its share of mismatched pairs. There are
            ``CALIBRATION_BINS`` equally wide bins; a probability on a border belongs to the bin above.
        suspected: pairs that are not called clean.
        noise_rate: share of mismatched pairs as the method estimates it; None where it does not.
        noise_rate_low: lower end of the estimate's 95% interval.
        noise_rate_high: its upper end.
        noise_rate_true: share of pairs that are mismatched.
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
        """All that is defined, flat, for JSON and CSV."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


def diagnose_division(division: Division, mismatched: npt.NDArray[np.bool_]) -> DivisionDiagnosis:
    """Judge a division by the truth.

    Args:
        division: what the method believes of N pairs.
        mismatched: (N,) bool, True where the given image is not the caption's own.

    Returns:
        The measures.

    Raises:
        ValueError: there are no pairs, or ``mismatched`` is no vector of bool with an entry a pair.
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
        calibration_error=_calibration_error(1 - division.clean_probability, mismatched),
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
    """(N,) place of each item by the first key, then the second; equal keys share a place."""
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    steps = (np.diff(first) != 0) | (np.diff(second) != 0)
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.concatenate([[0], np.cumsum(steps)])
    return ranks


def _calibration_error(probability: npt.NDArray[np.float64], outcome: npt.NDArray[np.bool_]) -> float:
    bins = np.minimum((probability * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    expected = np.bincount(bins, weights=probability, minlength=CALIBRATION_BINS)
    happened = np.bincount(bins, weights=outcome, minlength=CALIBRATION_BINS)
    return float(np.abs(expected - happened).sum() / len(outcome))  # the bins' sizes cancel
