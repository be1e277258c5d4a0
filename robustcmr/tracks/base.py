"""What the trainer asks of a track."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch

from robustcmr.data.base import TrainingData
from robustcmr.matchers.base import Matcher
from robustcmr.run_folder import RunFolder
from robustcmr.types import DataSpec


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

    @abstractmethod
    def selection_score(self, measured: dict[str, Any]) -> float:
        """The number whose largest value marks the best epoch, from what :meth:`evaluate` gave."""
