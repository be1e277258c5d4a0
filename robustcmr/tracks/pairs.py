"""The pairs track: the pairing itself is wrong for some captions, and recall is the measure.

This is the one place where truth and noise meet. Training gets the pairing as given, and nothing else.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from noise_injection import NoiseRecord, save_noise
from robustcmr.config.resolve import RunConfig
from robustcmr.config.schema import EvaluationOptions, TrainingOptions
from robustcmr.data.augmentation import Augmentation
from robustcmr.data.base import ImageStore, PairsData, PairsSplit, TextReader
from robustcmr.data.captions import TokenTable
from robustcmr.data.pairs import TrainingPairs, image_batches, text_batches
from robustcmr.data.pictures import Processor
from robustcmr.data.placement import MemoryBudget
from robustcmr.errors import DataError, PluginError
from robustcmr.evaluation.diagnosis import diagnose_division
from robustcmr.evaluation.rematch_quality import RematchQuality, evaluate_rematch
from robustcmr.evaluation.scoring import Member, evaluate_split
from robustcmr.evaluation.suggestions import best_other_images
from robustcmr.evaluation.truth import FittingCells, HiddenTruth
from robustcmr.evaluation.whole_set_quality import evaluate_whole_set
from robustcmr.matchers.base import Matcher
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.base import Measured, Track
from robustcmr.tracks.inputs import image_store, picture_processor, save_reader, text_reader
from robustcmr.tracks.noise import given_pairs, refuse_non_finite
from robustcmr.types import (
    Correspondence,
    DataSpec,
    Division,
    FloatArray,
    IntArray,
    LabelEstimate,
    MatcherInputs,
    PairsTable,
    Rematch,
)

logger = logging.getLogger("robustcmr")

CHANCE_CAPTIONS = 1000
"""Captions that are asked about all images, to say what chance would get right."""

SUGGESTED_IMAGES, SUGGESTED_PAIRS, LEAST_SUGGESTED = 2000, 20_000_000, 256
"""Images to suggest from by default: at most so many; fewer where they make more pairs with the captions than
that; but so many at least."""


class PairsTrack(Track):
    """Image-text pairs with mismatches.

    Args:
        data: the opened data set.
        reader: how captions become indices.
        processor: how pictures become pixels; None where the matcher reads region features.
        training: the pairs as given, which is all that training sees.
        spec: what a matcher must know.
        truth: the pairing as it was written; stays here.
        noise: what was done to the pairing.
        evaluation: batch and block sizes.
        settings: where the training features stay.
    """

    name = "pairs"

    def __init__(
        self,
        data: PairsData,
        reader: TextReader,
        processor: Processor | None,
        training: TrainingPairs,
        spec: DataSpec,
        truth: HiddenTruth,
        noise: NoiseRecord,
        evaluation: EvaluationOptions,
        settings: TrainingOptions,
    ) -> None:
        self.data: PairsData = data
        self.reader = reader
        self._processor = processor
        self.training: TrainingPairs = training
        self.spec = spec
        self._truth = truth
        self.noise = noise
        self._evaluation = evaluation
        self._settings = settings
        self._fitting = FittingCells(training.correspondence, partial(data.fits, "train"))
        self._captions: dict[str, TokenTable] = {}

    @classmethod
    def build(cls, config: RunConfig, saved: RunFolder | None = None) -> PairsTrack:
        """Open the data, read or make vocabulary and noise, and hide the truth.

        Args:
            config: the resolved configuration.
            saved: a run folder whose vocabulary and noise are to be used again, as far as they are there.

        Raises:
            UserError: data, vocabulary or noise file do not fit, or features are not finite.
        """
        settings = config.settings
        data: PairsData = config.data.cls(config.data.options)
        split = data.split("train")
        fingerprint = data.fingerprint("train")
        inputs: MatcherInputs = config.matcher.cls.inputs(config.matcher.options)  # type: ignore[attr-defined]
        reader = text_reader(settings.text, split.captions, saved, inputs)
        processor = None if inputs.image_processor is None else picture_processor(inputs.image_processor)
        images = image_store(split, processor)
        if saved is None:  # else it was looked at when the run began
            refuse_non_finite(split.name, {"images": split.features, "captions": split.text_vectors})
        given, noise = given_pairs(settings, split, fingerprint, saved)
        captions = TokenTable.from_captions(split.captions, reader)
        training = TrainingPairs(
            images,
            captions,
            Correspondence(given, split.n_images),
            Augmentation(
                settings.augmentation.drop_regions,
                settings.augmentation.corrupt_words,
                padding_index=reader.padding_index,
                unknown_index=reader.unknown_index,
                is_word=reader.is_word,
            ),
            split.text_vectors,
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
        truth = HiddenTruth(split.image_of_caption)
        options = (settings.evaluation, settings.training)
        return cls(data, reader, processor, training, spec, truth, noise, *options)

    def place_training(self, device: torch.device) -> None:
        """Hold the training features in memory or on a device, or leave them on disk; see :class:`Track`."""
        training = self._settings
        room = MemoryBudget.here(device, training.workers)
        self.training = self.training.placed(training.store, training.half_features, room)

    @property
    def block_bytes(self) -> int:
        """Memory for one block of scores."""
        return self._evaluation.block_mib * 2**20

    def provenance(self) -> dict[str, Any]:
        """Data fingerprint and everything about the noise."""
        return {
            "track": self.name,
            "data_fingerprint": self.noise.data_fingerprint,
            "training_pairs": len(self.training),
            "noise_kind": self.noise.kind,
            "protocol": self.noise.protocol,
            "noise_ratio": self.noise.ratio_asked,
            "noise_ratio_realised": self._truth.mismatched_share(self.training.correspondence),
            "noise_hash": self.noise.index_sha256,
            "noise": self.noise.to_dict(),
        }

    def save(self, run: RunFolder) -> None:
        """Write ``noise.npz``, and ``vocabulary.json`` unless captions are read by a pretrained tokenizer."""
        save_noise(run.noise, self.training.correspondence.image_of_caption, self.noise)
        save_reader(self.reader, run)

    def measure(
        self,
        members: Sequence[Member],
        split: str,
        device: torch.device,
        folds: int | None = None,
        after_block: Callable[[], None] | None = None,
    ) -> Measured:
        """Retrieval both ways over a split; see :class:`Track`."""
        owner = self.data.split(split).image_of_caption
        result = evaluate_split(
            members,
            owner,
            device,
            folds,
            self.block_bytes,
            None if after_block is None else lambda *_: after_block(),
        )
        return Measured(
            result.protocol,
            result.metrics.to_dict(),
            [metrics.to_dict() for metrics in result.by_model],
            [metrics.to_dict() for metrics in result.by_fold],
            {
                "i2t_rank": result.ranks.i2t.numpy() + 1,
                "t2i_rank": result.ranks.t2i.numpy() + 1,
                "t2i_image": owner,
            },
        )

    @property
    def truth_is_known(self) -> bool:
        """Whether the pairing as written is right, so that beliefs about it can be judged."""
        return self.data.split("train").trusted

    def diagnose(self, belief: Division | LabelEstimate) -> dict[str, dict[str, float]]:
        """Detection, calibration and noise rate of a ``division``; see :class:`Track`."""
        if not isinstance(belief, Division):
            raise PluginError(
                f"the method believes a {type(belief).__name__} of pairs without classes; return a Division"
            )
        mismatched = self.mismatched()
        return {} if mismatched is None else {"division": diagnose_division(belief, mismatched).to_dict()}

    def evaluate_rematch(self, rematch: Rematch) -> dict[str, float]:
        """Sums of :class:`RematchQuality`; see :class:`Track`."""
        if not self.truth_is_known:
            return {}
        return dataclasses.asdict(evaluate_rematch(rematch, self._fitting(rematch)))

    def rematch_quality(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Shares of the rematched mass that are right; see :class:`Track`."""
        return RematchQuality(**sums).to_dict()

    def evaluate_whole_set(
        self, pairs: IntArray, images: IntArray, scores: FloatArray, plan: FloatArray, place: IntArray
    ) -> dict[str, float]:
        """Hold a whole-set rematching against what captions are true of; empty where that is not known.

        Args:
            pairs: (n,) the suspected pairs, at least one.
            images: (n, k) candidate images of their captions, best-scoring first; -1 where there is none.
            scores: (n, k) of the candidates.
            plan: (n, k) mass moved.
            place: (n,) the candidate suggested, or -1.

        Returns:
            :class:`WholeSetQuality` as values; ``chance`` from at most ``CHANCE_CAPTIONS`` captions.
        """
        if not self.truth_is_known:
            return {}
        fits = partial(self.data.fits, "train")
        cells = np.zeros(images.shape, dtype=np.bool_)
        for row, pair in enumerate(pairs.tolist()):
            there = images[row] >= 0
            cells[row, there] = fits(pair, images[row, there])
        given = self.training.correspondence.image_of_caption
        every = np.arange(self.training.correspondence.n_images, dtype=np.int64)
        asked = pairs[:: -(-len(pairs) // CHANCE_CAPTIONS)].tolist()
        chance = [float(fits(pair, every[every != given[pair]]).mean()) for pair in asked]
        return evaluate_whole_set(cells, scores, plan, place, float(np.mean(chance))).to_dict()

    def mismatched(self) -> npt.NDArray[np.bool_] | None:
        """(N,) which training pairs are wrong, for reports alone; None where the truth is not known."""
        return self._truth.is_mismatched(self.training.correspondence) if self.truth_is_known else None

    def pairs_table(
        self,
        division: Division,
        matcher: Matcher,
        scores: FloatArray,
        device: torch.device,
    ) -> PairsTable:
        """Beliefs, and for every caption the best other image of the training set.

        Args:
            division: which training pairs are believed clean.
            matcher: what to suggest other images by.
            scores: (N,) that matcher's score of each given pair.
            device: where the matcher is.
        """
        split, given = self.data.split("train"), self.training.correspondence.image_of_caption
        size = self._evaluation.batch_size
        most = self._evaluation.rematch_images
        if most is None:  # every caption is scored with each of them, which slow matchers take long for
            most = min(SUGGESTED_IMAGES, max(LEAST_SUGGESTED, SUGGESTED_PAIRS // len(given)))
        candidates = np.arange(split.n_images, dtype=np.int64)
        if split.n_images > most:
            logger.info(
                "pairs.csv suggests from %d of %d training images; 'robustcmr rematch' looks through all",
                most,
                split.n_images,
            )
            candidates = np.sort(np.random.default_rng(0).choice(candidates, most, replace=False))
        found = best_other_images(
            matcher,
            candidates,
            image_batches(self.training.images, size, candidates),
            text_batches(self.training.captions, size, self.training.text_vectors),
            given,
            device,
            self.block_bytes,
        )
        names = split.image_names
        return PairsTable(
            pair=np.arange(len(given), dtype=np.int64),
            caption=split.captions,
            image=given,
            image_name=[names[i] if names is not None else "" for i in given],
            evidence=division.evidence,
            clean_probability=division.clean_probability,
            is_clean=division.is_clean,
            rematch=found.image,
            rematch_name=[names[i] if names is not None and i >= 0 else "" for i in found.image],
            score=scores.astype(np.float64),
            rematch_score=found.score.astype(np.float64),
        )

    def members(self, matchers: Sequence[Matcher], split: str) -> list[Member]:
        """Matchers together with a split as this run's vocabulary reads it."""
        opened = self.data.split(split)
        if split not in self._captions:
            self._captions[split] = TokenTable.from_captions(opened.captions, self.reader)
        captions, size = self._captions[split], self._evaluation.batch_size
        images = image_store(opened, self._processor)
        self._check_widths(opened, images)
        return [
            Member(
                matcher,
                lambda: image_batches(images, size),
                lambda: text_batches(captions, size, opened.text_vectors),
            )
            for matcher in matchers
        ]

    def _check_widths(self, split: PairsSplit, images: ImageStore) -> None:
        """Refuse a split whose numbers a matcher of the training split cannot read."""
        spec = self.spec
        width = None if split.text_vectors is None else split.text_vectors.shape[2]
        if spec.picture_size is None and images.shape[2] != spec.feature_width:
            raise DataError(
                f"the {split.name} split has {images.shape[2]} numbers a region and the train split "
                f"{spec.feature_width}; expected the same, so make both with the same program"
            )
        if width != spec.text_width:
            raise DataError(
                f"the {split.name} split has {width or 'no'} numbers a caption vector and the train split "
                f"{spec.text_width or 'none'}; expected the same, so make both with the same program"
            )

    def selection_score(self, measured: dict[str, Any]) -> float:
        """The sum of the six recalls."""
        return float(measured["rsum"])
