"""What the trainer asks of a track."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy.typing as npt
import torch

from robustcmr.data.base import DataSet, TrainingData
from robustcmr.evaluation.scoring import Member
from robustcmr.matchers.base import Matcher
from robustcmr.runs.folder import RunFolder
from robustcmr.types import DataSpec, Division, LabelEstimate, Rematch


@dataclass(frozen=True)
class Measured:
    """How well one model, or an ensemble declared as such, retrieves on a split, as plain values.

    Attributes:
        protocol: what the field calls it, such as ``1K`` or ``full``.
        metrics: of the mean of the models' scores; averaged over folds where there are some.
        by_model: of each model alone, in the order given.
        by_fold: of each fold; one entry where there are no folds.
        queries: how single queries fared, of the mean of the models' scores; ranks from 1 as ``i2t_rank``
            (n_images,) and ``t2i_rank`` (n_captions,) with each caption's image as ``t2i_image``, or average
            precisions in percent as ``i2t_ap`` and ``t2i_ap`` (n_pairs,), NaN where a query counts for
            nothing.
    """

    protocol: str
    metrics: dict[str, Any]
    by_model: list[dict[str, Any]]
    by_fold: list[dict[str, Any]]
    queries: dict[str, npt.NDArray[Any]]


class Track(ABC):
    """Data ready for a run, and how its splits are measured.

    Attributes:
        name: ``pairs`` or ``labels``.
        data: the opened data set.
        spec: what a matcher must know of the data.
        training: the training pairs as given.
    """

    name: ClassVar[str]
    data: DataSet
    spec: DataSpec
    training: TrainingData

    def splits(self) -> tuple[str, ...]:
        """Names of the splits that can be measured."""
        return tuple(self.data.splits())

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Which data and which noise this is, as plain values that travel with every result."""

    @abstractmethod
    def save(self, run: RunFolder) -> None:
        """Write into a run folder what is needed to build the same track again."""

    def place_training(self, device: torch.device) -> None:  # noqa: B027 - most data has nothing to place
        """Put the training features where training will read them; called once before it begins.

        Args:
            device: that will train.

        Raises:
            UserError: they do not fit where they were wished.
        """

    def method_arguments(self, matchers: Sequence[Matcher], device: torch.device) -> tuple[Any, ...]:
        """What a method is built with behind the arguments that all methods share; nothing by default.

        Args:
            matchers: those to be trained, which are looked at before training begins.
            device: where they are.

        Raises:
            UserError: such matchers cannot be trained on this track's data.
        """
        del matchers, device
        return ()

    @abstractmethod
    def members(self, matchers: Sequence[Matcher], split: str) -> list[Member]:
        """Matchers together with a split as this run reads it."""

    @abstractmethod
    def measure(
        self,
        members: Sequence[Member],
        split: str,
        device: torch.device,
        folds: int | None = None,
        after_block: Callable[[], None] | None = None,
    ) -> Measured:
        """Measure a split with the mean score of some models, each of which may read it its own way.

        Args:
            members: one or more.
            split: which one.
            device: where the matchers are.
            folds: measure that many consecutive parts and average; None measures the whole.
            after_block: called now and then, such as to ask whether to stop.
        """

    def evaluate(
        self,
        matchers: Sequence[Matcher],
        split: str,
        device: torch.device,
        folds: int | None = None,
        after_block: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Measure a split with the mean score of some matchers of this run; see :meth:`measure`."""
        return self.measure(self.members(matchers, split), split, device, folds, after_block).metrics

    @abstractmethod
    def diagnose(self, belief: Division | LabelEstimate) -> Mapping[str, Mapping[str, Any]]:
        """Hold what a method believes against the hidden truth; empty where the truth is not known.

        Args:
            belief: of the kind that belongs to the track.

        Returns:
            Measures under a heading each.
        """

    def evaluate_rematch(self, rematch: Rematch) -> dict[str, float]:
        """What is right in a rematching, as sums to add up by key; empty where the truth is not known."""
        del rematch
        return {}

    def rematch_quality(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Shares from added sums of :meth:`evaluate_rematch`; empty where nothing was judged."""
        del sums
        return {}

    @abstractmethod
    def selection_score(self, measured: dict[str, Any]) -> float:
        """The number whose largest value marks the best epoch, from what :meth:`evaluate` gave."""
