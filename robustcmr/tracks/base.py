"""The contract between a kind of data and the rest of the package."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from robustcmr.config.resolve import RunConfig
from robustcmr.config.schema import Settings
from robustcmr.data.base import PairsSplit, TextReader
from robustcmr.data.captions import TokenTable, low_coverage
from robustcmr.data.pictures import PictureProcessor
from robustcmr.data.placement import MemoryBudget
from robustcmr.errors import DataError, PluginError
from robustcmr.evaluation.candidate_search import Collection
from robustcmr.evaluation.chance import Chance
from robustcmr.evaluation.protocols import Measured, Member
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Scorer
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.inputs import RunInputs
from robustcmr.runs.labels_table import LabelsTable
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.runs.read import HEADLINES
from robustcmr.tracks.epoch_scores import EpochScores
from robustcmr.types import (
    Correspondence,
    DataSpec,
    Division,
    FloatArray,
    IntArray,
    LabelEstimate,
)

logger = logging.getLogger("robustcmr")

Estimate = Division | LabelEstimate


@dataclass(frozen=True)
class Findings:
    """A method's final estimate of the training pairs, and its agreement with the hidden truth."""

    table: PairsTable | LabelsTable  # one row per pair, for the run folder
    summary: Mapping[str, Any]  # figures for ``results.json``
    division: Division | None = None  # the estimate, if it says which pairs are clean
    confusion: Mapping[str, Any] | None = None  # of given and corrected classes with the true ones


@dataclass(frozen=True)
class OpenedData:
    """A data set, read and with noise, as a run begins."""

    data: Any  # the opened data set
    reader: TextReader | None  # how captions become indices; None if only vectors of the texts exist
    training: Any  # the training pairs as given; training sees nothing else
    spec: DataSpec  # what a matcher must know of the data
    noise: Any  # how the given pairing or labels differ from the true ones
    processor: PictureProcessor | None = None  # pictures to pixels; None for features


class Track(ABC):
    """Data ready for a run: training pairs as given, splits to measure, and the hidden truth."""

    name: ClassVar[str]
    """``pairs`` or ``labels``, as :attr:`DataSet.track`."""
    estimates: ClassVar[type[Division] | type[LabelEstimate]]
    """What a method for this track estimates."""

    def __init__(self, settings: Settings, opened: OpenedData) -> None:
        self.settings = settings
        self.data, self.reader, self.spec = opened.data, opened.reader, opened.spec
        self.training, self.noise = opened.training, opened.noise
        self.processor = opened.processor
        self._token_tables: dict[str, TokenTable] = {}

    @classmethod
    def build(cls, config: RunConfig, saved: RunFolder | None = None) -> Self:
        """Open the data of a run, read or make its vocabulary and noise, and hide the truth.

        Args:
            config: the resolved configuration.
            saved: a run folder whose vocabulary and noise are reused if they are there.

        Raises:
            UserError: data, vocabulary or noise file do not fit, features are not finite, or the matcher
                needs inputs that this data lacks.
        """
        return cls(config.settings, cls.open(config, saved))

    @staticmethod
    @abstractmethod
    def open(config: RunConfig, saved: RunFolder | None) -> OpenedData:
        """Open the data for :meth:`build`."""

    def splits(self) -> tuple[str, ...]:
        """Names of the splits that can be measured."""
        return tuple(self.data.splits())

    @property
    def block_bytes(self) -> int:
        """Memory for one block of scores."""
        return self.settings.evaluation.block_mib * 2**20

    @property
    def pairing(self) -> Correspondence | None:
        """The pairing as given, right or wrong; None if the labels may be wrong instead."""
        return None

    @property
    def class_names(self) -> tuple[str, ...]:
        """K class names; empty if pairs carry no class."""
        return ()

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Return data fingerprint and noise record, as plain values that travel with every result."""

    def older_fingerprints(self) -> dict[str, list[str]]:
        """Return the fingerprints of earlier versions, for comparisons with their runs; empty if none."""
        older = list(self.data.older_fingerprints("train"))
        return {"older_fingerprints": older} if older else {}

    def inputs(self) -> RunInputs:
        """Return how the run's matcher reads images and captions."""
        return RunInputs(self.spec, self.reader is not None)

    @abstractmethod
    def save(self, run: RunFolder) -> None:
        """Write into a run folder all that is needed to build the same track again."""

    def place_training(self, device: torch.device) -> None:
        """Move the training features to the requested device or memory, or leave them on disk.

        Raises:
            UserError: they do not fit where they were requested.
        """
        options = self.settings.training
        budget = MemoryBudget.here(device, options.workers)
        self.training = self.training.placed(options.store, options.half_features, budget)

    def method_arguments(self, matchers: Sequence[Matcher], device: torch.device) -> tuple[Any, ...]:
        """Return the arguments of a method after those that all methods share; none by default.

        Raises:
            UserError: such matchers cannot be trained on this data.
        """
        del matchers, device
        return ()

    def starting_probability(self) -> FloatArray | None:
        """Return an earlier estimate of each pair's clean probability, (N,) in 0..1; None without one."""
        return None

    @abstractmethod
    def members(self, matchers: Sequence[Matcher], split: str) -> list[Member]:
        """Combine matchers with a split, read with this run's vocabulary."""

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
            split: which split.
            device: where the matchers are.
            folds: measure this many consecutive parts and average; None measures the whole.
            after_block: called between blocks, such as to check for a stop request.
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

    def selection_score(self, measured: Mapping[str, Any]) -> float:
        """Return the measure whose largest value marks the best epoch, from :meth:`evaluate`."""
        return float(measured[HEADLINES[self.name]])

    @abstractmethod
    def chance(self, split: str) -> Chance:
        """Return the selection score of a matcher that guesses, on a split."""

    @abstractmethod
    def diagnose(self, estimate: Estimate) -> dict[str, dict[str, Any]]:
        """Compare an estimate with the truth, empty if unknown; raise PluginError for another track's."""

    def check_estimate(self, estimate: Estimate, method: str = "the method") -> None:
        """Raise PluginError unless the estimate of a method, by name, is of the type :attr:`estimates`."""
        if not isinstance(estimate, self.estimates):
            raise PluginError(
                f"{method} estimated a {type(estimate).__name__} on the {self.name} track; return a "
                f"{self.estimates.__name__}"
            )

    def epoch_scores(self) -> EpochScores:
        """Return a collector of one epoch's agreement with the hidden truth."""
        return EpochScores(self.diagnose)

    @abstractmethod
    def findings(
        self, estimate: Estimate, matcher: Matcher, scorer: Scorer, device: torch.device
    ) -> Findings:
        """Return the table and figures of a method's final estimate of the training pairs.

        The matcher, on ``device``, suggests other images; the scorer runs over the training pairs.

        Raises:
            PluginError: the estimate is of another track.
        """

    def mismatched(self) -> npt.NDArray[np.bool_] | None:
        """Return which training pairs are wrong, (N,) bool, for reports only; None if unknown."""
        return None

    def fits(self, pair: int, images: IntArray) -> npt.NDArray[np.bool_] | None:
        """Return which images a training caption is true of, (k,) bool, for reports; None if unknown."""
        del pair, images
        return None

    def retrieval_split(self, name: str) -> PairsSplit | None:
        """Return a split whose captions and images retrieve each other; None if pairs carry classes."""
        del name
        return None

    def suspects(self, table: PairsTable) -> Collection:
        """Return the suspected captions of a run's table with all training images, to be matched again.

        Raises:
            DataError: the track has no such captions, or the table is not of this data.
        """
        del table
        raise DataError(f"the {self.name} track has no captions to rematch; expected a run on pairs")

    def rematch_quality(
        self, pairs: IntArray, images: IntArray, scores: FloatArray, plan: FloatArray, place: IntArray
    ) -> dict[str, float]:
        """Compare a whole-set rematching with the hidden truth; empty if that is unknown.

        Args:
            pairs: (n,) suspected pairs, at least one.
            images: (n, k) candidate images of their captions, best-scoring first; -1 for none.
            scores: (n, k) of the candidates.
            plan: (n, k) mass moved.
            place: (n,) the candidate suggested, or -1.
        """
        del pairs, images, scores, plan, place
        return {}

    def read_captions(self, splits: Sequence[str]) -> None:
        """Read the captions of some splits, and warn if the vocabulary knows too few of their words."""
        for split in dict.fromkeys(splits):
            captions = self.data.split(split).captions
            if self.reader is not None and captions is not None:
                self._tokens(split, captions)

    def _tokens(self, split: str, captions: Sequence[str]) -> TokenTable:
        """Return a split's captions as this run's reader reads them; read once."""
        if self.reader is None:
            raise ValueError("captions cannot be read without a reader")
        if split not in self._token_tables:
            found = self.training.captions if split == "train" else None
            found = TokenTable.from_captions(captions, self.reader) if found is None else found
            if doubt := low_coverage(found.known_share(self.reader), "--set text.vocabulary=FILE"):
                logger.warning("%s: %s", split, doubt)
            self._token_tables[split] = found
        return self._token_tables[split]
