"""What the trainer asks of a track."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robustcmr.data.base import TrainingData
from robustcmr.matchers.base import Matcher
from robustcmr.run_folder import RunFolder
from robustcmr.types import DataSpec, Division, FloatArray, PairsTable, Rematch


class Track(ABC):
    """Data ready for a run, and how its splits are measured.

    Attributes:
        spec: what a matcher must know of the data.
        training: the training pairs as given.
    """

    spec: DataSpec
    training: TrainingData

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that can be measured."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Which data and which noise this is, as plain values that travel with every result."""

    @abstractmethod
    def save(self, run: RunFolder) -> None:
        """Write into a run folder what is needed to build the same track again."""

    @abstractmethod
    def evaluate(
        self,
        matchers: Sequence[Matcher],
        split: str,
        device: torch.device,
        folds: int | None = None,
        after_block: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Measure a split with the mean score of some matchers, as plain values.

        Args:
            matchers: one or more; their scores are averaged.
            split: which one.
            device: where the matchers are.
            folds: measure that many consecutive parts and average; None measures the whole.
            after_block: called now and then, such as to ask whether to stop.
        """

    def diagnose(self, division: Division) -> dict[str, float]:
        """Hold a division against the hidden truth; empty where the truth is not known.

        Args:
            division: which training pairs a method believes clean.
        """
        del division
        return {}

    def judge_rematch(self, rematch: Rematch) -> dict[str, float]:
        """What is right in a rematching, as sums to add up by key; empty where the truth is not known."""
        del rematch
        return {}

    def rematch_quality(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Shares from added sums of :meth:`judge_rematch`; empty where nothing was judged."""
        del sums
        return {}

    def mismatched(self) -> npt.NDArray[np.bool_] | None:
        """(N,) which training pairs are wrong, for reports alone; None where the truth is not known."""
        return None

    def pairs_table(
        self,
        division: Division,
        matcher: Matcher,
        scores: FloatArray,
        device: torch.device,
    ) -> PairsTable | None:
        """What is believed of every training pair; None where pairs are not what is judged.

        Args:
            division: which training pairs are believed clean.
            matcher: what to suggest other images by.
            scores: (N,) that matcher's score of each given pair.
            device: where the matcher is.
        """
        del division, matcher, scores, device
        return None

    @abstractmethod
    def selection_score(self, measured: dict[str, Any]) -> float:
        """The number whose largest value marks the best epoch, from what :meth:`evaluate` gave."""
