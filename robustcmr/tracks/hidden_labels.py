"""The hidden truth of a labelled training split. Only the track ever holds it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robustcmr.evaluation.label_diagnosis import LabelDiagnosis, diagnose_labels
from robustcmr.types import IntArray, LabelEstimate


@dataclass(frozen=True)
class HiddenLabels:
    """The true classes of the training pairs; never handed to a matcher, a method or correction code.

    Attributes:
        labels: (N,) int64.
        n_classes: K.
    """

    labels: IntArray
    n_classes: int

    def wrong_share(self, given: IntArray) -> float:
        """Share of wrong labels among (N, M) given ones, in [0, 1]."""
        return float(np.not_equal(given, self.labels[:, None]).mean())

    def judge(self, given: IntArray, belief: LabelEstimate) -> LabelDiagnosis:
        """Hold (N, M) given labels and what a method makes of them against the truth."""
        return diagnose_labels(
            given, belief.corrected, self.labels, self.n_classes, belief.evidence, belief.confidence
        )
