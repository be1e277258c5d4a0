"""The pairs track: the pairing itself is wrong for some captions, and recall is the measure.

Truth and noise meet here and nowhere else. Training gets the pairing as given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from noise_injection import save_noise
from robustcmr.config.resolve import RunConfig
from robustcmr.config.schema import Settings
from robustcmr.data.augmentation import Augmentation
from robustcmr.data.base import PairsData, PairsSplit
from robustcmr.data.captions import TokenTable
from robustcmr.data.pairs import TrainingPairs, image_batches, text_batches
from robustcmr.data.scan import refuse_non_finite
from robustcmr.errors import ConfigError
from robustcmr.evaluation.candidate_search import Collection
from robustcmr.evaluation.chance import Chance, recall_sum_chance
from robustcmr.evaluation.diagnosis import diagnose_division
from robustcmr.evaluation.protocols import Measured, Member, evaluate_split
from robustcmr.evaluation.rematch_quality import RematchQuality, evaluate_rematch
from robustcmr.evaluation.truth import FittingCells, HiddenTruth
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Scorer
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.tracks.base import Estimate, Findings, OpenedData, Track
from robustcmr.tracks.epoch_scores import EpochScores
from robustcmr.tracks.inputs import check_width, image_store, picture_processor, save_inputs, text_reader
from robustcmr.tracks.noise import given_pairs
from robustcmr.tracks.pairs_findings import (
    pairs_table,
    partners_quality,
    suspected_captions,
    whole_set_quality,
)
from robustcmr.types import (
    Correspondence,
    DataSpec,
    Division,
    FloatArray,
    IntArray,
    MatcherInputs,
    Rematch,
)


class PairsTrack(Track):
    """Image-text pairs with mismatches."""

    name = "pairs"
    estimates = Division

    def __init__(self, settings: Settings, opened: OpenedData) -> None:
        super().__init__(settings, opened)
        self._truth = HiddenTruth(opened.data.split("train").image_of_caption)
        self._fitting = FittingCells(opened.training.correspondence, partial(opened.data.fits, "train"))

    @staticmethod
    def open(config: RunConfig, saved: RunFolder | None) -> OpenedData:
        """Open the data; see :class:`Track`."""
        settings = config.settings
        data: PairsData = config.data.cls(config.data.options)
        split = data.split("train")
        if split.clean_probability is not None and (settings.noise.ratio or settings.noise.file is not None):
            raise ConfigError(
                "noise gives captions to other images, of which the audit says nothing; leave the noise out, "
                "or --set data.audit=ignore"
            )
        inputs: MatcherInputs = config.matcher.cls.inputs(config.matcher.options)  # type: ignore[attr-defined]
        reader = text_reader(settings.text, split.captions, saved, inputs)
        processor = picture_processor(inputs)
        images = image_store(split, processor)
        if saved is None:  # else they were checked when the run began
            refuse_non_finite(split.name, {"images": split.features, "captions": split.text_vectors})
        given, noise = given_pairs(settings, split, data.known_fingerprints("train"), saved)
        captions = TokenTable.from_captions(split.captions, reader)
        augmentation = Augmentation(
            settings.augmentation.drop_regions,
            settings.augmentation.corrupt_words,
            padding_index=reader.padding_index,
            unknown_index=reader.unknown_index,
            is_word=reader.is_word,
        )
        training = TrainingPairs(
            images, captions, Correspondence(given, split.n_images), augmentation, split.text_vectors
        )
        pixels = len(images.shape) == 4
        spec = DataSpec(
            feature_width=images.shape[1] if pixels else images.shape[2],
            n_regions=1 if pixels else images.shape[1],
            vocabulary_size=len(reader),
            longest_caption=captions.longest,
            padding_index=reader.padding_index,
            unknown_index=reader.unknown_index,
            words=reader.words,
            picture_size=(images.shape[2], images.shape[3]) if pixels else None,
            text_width=None if split.text_vectors is None else split.text_vectors.shape[2],
        )
        return OpenedData(data, reader, training, spec, noise, processor)

    def starting_probability(self) -> FloatArray | None:
        """Return what an audit of the training pairs says; see :class:`Track`."""
        found: FloatArray | None = self.data.split("train").clean_probability
        return found

    @property
    def pairing(self) -> Correspondence:
        """The pairing as given, right or wrong."""
        return cast(TrainingPairs, self.training).correspondence

    def provenance(self) -> dict[str, Any]:
        """Return data fingerprint and noise record; see :class:`Track`."""
        return {
            "track": self.name,
            "data_fingerprint": self.noise.data_fingerprint,
            **self.older_fingerprints(),
            "training_pairs": len(self.training),
            "truth_known": self.truth_is_known,
            "noise_kind": self.noise.kind,
            "protocol": self.noise.protocol,
            "noise_ratio": self.noise.ratio_asked,
            "noise_ratio_realised": float(self._truth.is_mismatched(self.pairing).mean()),
            "noise_hash": self.noise.index_sha256,
            "noise": self.noise.to_dict(),
        }

    def save(self, run: RunFolder) -> None:
        """Write ``noise.npz``, ``inputs.json``, and ``vocabulary.json`` if the run has its own vocabulary."""
        save_noise(run.noise, self.pairing.image_of_caption, self.noise)
        save_inputs(run, self.inputs(), self.reader)

    def members(self, matchers: Sequence[Matcher], split: str) -> list[Member]:
        """Combine matchers with a split; see :class:`Track`."""
        opened: PairsSplit = self.data.split(split)
        images, vectors = image_store(opened, self.processor), opened.text_vectors
        captions, size = self._tokens(split, opened.captions), self.settings.evaluation.batch_size
        if self.spec.picture_size is None:
            check_width(split, "a region", images.shape[2], self.spec.feature_width)
        width = None if vectors is None else vectors.shape[2]
        check_width(split, "a caption vector", width, self.spec.text_width)
        return [
            Member(
                matcher, lambda: image_batches(images, size), lambda: text_batches(captions, size, vectors)
            )
            for matcher in matchers
        ]

    def measure(
        self,
        members: Sequence[Member],
        split: str,
        device: torch.device,
        folds: int | None = None,
        after_block: Callable[[], None] | None = None,
    ) -> Measured:
        """Measure retrieval both ways over a split; see :class:`Track`."""
        owner = self.data.split(split).image_of_caption
        progress = None if after_block is None else lambda *_: after_block()
        return evaluate_split(members, owner, device, folds, self.block_bytes, progress)

    def chance(self, split: str) -> Chance:
        """Return rSum of a matcher that guesses; see :class:`Track`."""
        opened: PairsSplit = self.data.split(split)
        return recall_sum_chance(opened.image_of_caption, opened.n_images)

    @property
    def truth_is_known(self) -> bool:
        """Whether the pairing as written is right, so that estimates can be scored against it."""
        return bool(self.data.split("train").trusted)

    def mismatched(self) -> npt.NDArray[np.bool_] | None:
        """Return which training pairs are wrong; see :class:`Track`."""
        return self._truth.is_mismatched(self.pairing) if self.truth_is_known else None

    def fits(self, pair: int, images: IntArray) -> npt.NDArray[np.bool_] | None:
        """Return which images a training caption is true of; see :class:`Track`."""
        if not self.truth_is_known:
            return None
        return cast(npt.NDArray[np.bool_], self.data.fits("train", pair, images))

    def retrieval_split(self, name: str) -> PairsSplit:
        """Return a split; see :class:`Track`."""
        return cast(PairsSplit, self.data.split(name))

    def diagnose(self, estimate: Estimate) -> dict[str, dict[str, Any]]:
        """Return detection, calibration and noise rate under ``division``; see :class:`Track`."""
        self.check_estimate(estimate)
        mismatched = self.mismatched()
        if mismatched is None:
            return {}
        return {"division": diagnose_division(cast(Division, estimate), mismatched).to_dict()}

    def epoch_scores(self) -> EpochScores:
        """Return a collector that also scores rematching; see :class:`Track`."""

        def evaluate(rematch: Rematch) -> RematchQuality:
            return evaluate_rematch(rematch, self._fitting(rematch))

        def compare(image_from: IntArray) -> RematchQuality:
            return partners_quality(image_from, self.pairing, partial(self.data.fits, "train"))

        return (
            EpochScores(self.diagnose, evaluate, compare) if self.truth_is_known else super().epoch_scores()
        )

    def findings(
        self, estimate: Estimate, matcher: Matcher, scorer: Scorer, device: torch.device
    ) -> Findings:
        """Return the division with the best other image of each caption; see :class:`Track`."""
        found, division = self.diagnose(estimate), cast(Division, estimate)
        scores = scorer(lambda scores, _: scores.diagonal(), matcher)  # (N,)
        options, split = self.settings.evaluation, self.retrieval_split("train")
        table = pairs_table(division, matcher, scores, split, self.training, options, device)
        summary = {
            "reason": division.reason,
            "suspected": float((~division.is_clean).mean()),
            "noise_rate": division.noise_rate,
            "noise_interval": division.noise_interval,
            **found,
        }
        return Findings(table, summary, division=division)

    def suspects(self, table: PairsTable) -> Collection:
        """Return the suspected captions with all training images; see :class:`Track`."""
        split, size = self.retrieval_split("train"), self.settings.evaluation.batch_size
        return suspected_captions(table, split, self.training, size)

    def rematch_quality(
        self, pairs: IntArray, images: IntArray, scores: FloatArray, plan: FloatArray, place: IntArray
    ) -> dict[str, float]:
        """Return precision of a whole-set rematching, and that of chance; see :class:`Track`."""
        if not self.truth_is_known:
            return {}
        fits = partial(self.data.fits, "train")
        return whole_set_quality(pairs, images, scores, plan, place, self.pairing, fits)
