"""The pairs track: the pairing itself is wrong for some captions, and recall is the measure.

This is the one place where the truth and the noise meet. What leaves it towards training is the pairing as given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from noise_injection import NoiseError, NoiseRecord, load_noise, make_mismatch, save_noise
from robustcmr.config.resolve import RunConfig
from robustcmr.config.schema import EvaluationOptions, NoiseOptions
from robustcmr.data.augmentation import Augmentation
from robustcmr.data.base import PairsData, PairsSplit
from robustcmr.data.captions import TokenTable
from robustcmr.data.pairs import TrainingPairs, image_batches, text_batches
from robustcmr.data.store import first_non_finite
from robustcmr.data.vocabulary import Vocabulary
from robustcmr.errors import DataError
from robustcmr.evaluation.scoring import evaluate_split
from robustcmr.evaluation.truth import HiddenTruth
from robustcmr.matchers.base import Matcher
from robustcmr.run_folder import RunFolder
from robustcmr.tracks.base import Track
from robustcmr.types import Correspondence, DataSpec, IntArray

logger = logging.getLogger("robustcmr")


class PairsTrack(Track):
    """Image-text pairs with mismatches.

    Args:
        data: the opened data set.
        vocabulary: how captions become word indices.
        training: the pairs as given, which is all that training sees.
        spec: what a matcher must know.
        truth: the pairing as it was written; stays here.
        noise: what was done to the pairing.
        evaluation: batch and block sizes.
    """

    def __init__(
        self,
        data: PairsData,
        vocabulary: Vocabulary,
        training: TrainingPairs,
        spec: DataSpec,
        truth: HiddenTruth,
        noise: NoiseRecord,
        evaluation: EvaluationOptions,
    ) -> None:
        self.data = data
        self.vocabulary = vocabulary
        self.training: TrainingPairs = training
        self.spec = spec
        self._truth = truth
        self.noise = noise
        self._evaluation = evaluation
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
        if saved is not None and saved.vocabulary.exists():
            vocabulary = Vocabulary.load(saved.vocabulary)
        elif settings.text.vocabulary is not None:
            vocabulary = Vocabulary.load(settings.text.vocabulary)
        else:
            vocabulary = Vocabulary.build(split.captions, settings.text.min_count)
        if saved is not None and saved.noise.exists():
            given, noise = _load(saved.noise, split, fingerprint)
        else:
            _refuse_non_finite(split)
            given, noise = _inject(settings.noise, settings.seed, split, fingerprint)
        captions = TokenTable.from_captions(split.captions, vocabulary)
        training = TrainingPairs(
            split.features,
            captions,
            Correspondence(given, split.n_images),
            Augmentation(
                settings.augmentation.drop_regions,
                settings.augmentation.corrupt_words,
                vocabulary.unknown_index,
                FIRST_WORD,
                len(vocabulary),
            ),
        )
        _, n_regions, width = split.features.shape
        spec = DataSpec(
            feature_width=width,
            n_regions=n_regions,
            vocabulary_size=len(vocabulary),
            longest_caption=captions.longest,
            padding_index=vocabulary.padding_index,
            unknown_index=vocabulary.unknown_index,
        )
        truth = HiddenTruth(split.image_of_caption)
        return cls(data, vocabulary, training, spec, truth, noise, settings.evaluation)

    def splits(self) -> tuple[str, ...]:
        """Names of the splits that can be measured."""
        return tuple(self.data.splits())

    def provenance(self) -> dict[str, Any]:
        """Data fingerprint and everything about the noise."""
        return {
            "track": "pairs",
            "data_fingerprint": self.data.fingerprint("train"),
            "training_pairs": len(self.training),
            "protocol": self.noise.protocol,
            "noise_ratio": self.noise.ratio_asked,
            "noise_ratio_realised": self._truth.mismatched_share(self.training.correspondence),
            "noise_hash": self.noise.index_sha256,
            "noise": self.noise.to_dict(),
        }

    def save(self, run: RunFolder) -> None:
        """Write ``noise.npz`` and ``vocabulary.json``."""
        save_noise(run.noise, self.training.correspondence.image_of_caption, self.noise)
        self.vocabulary.save(run.vocabulary)

    def evaluate(
        self,
        matchers: Sequence[Matcher],
        split: str,
        device: torch.device,
        folds: int | None = None,
        after_block: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Retrieval both ways over a split; see :class:`Track`."""
        opened = self.data.split(split)
        captions = self._table(opened)
        size = self._evaluation.batch_size
        result = evaluate_split(
            matchers,
            lambda: image_batches(opened.features, size),
            lambda: text_batches(captions, size),
            opened.image_of_caption,
            device,
            folds,
            self._evaluation.block_mib * 2**20,
            None if after_block is None else lambda done, total: after_block(),
        )
        return result.metrics.to_dict()

    def _table(self, split: PairsSplit) -> TokenTable:
        if split.name not in self._captions:
            self._captions[split.name] = TokenTable.from_captions(split.captions, self.vocabulary)
        return self._captions[split.name]

    def selection_score(self, measured: dict[str, Any]) -> float:
        """The sum of the six recalls."""
        return float(measured["rsum"])


FIRST_WORD = 4  # the marks <pad> <start> <end> <unk> come before the words


def _inject(
    options: NoiseOptions, seed: int, split: PairsSplit, fingerprint: str
) -> tuple[IntArray, NoiseRecord]:
    truth = split.image_of_caption
    if options.file is not None:
        return _load(options.file, split, fingerprint)
    noise_seed = seed if options.seed is None else options.seed
    try:
        return make_mismatch(
            truth, split.n_images, options.ratio, options.protocol, noise_seed, options.derange, fingerprint
        )
    except NoiseError as error:
        raise DataError(str(error)) from error


def _load(path: Path, split: PairsSplit, fingerprint: str) -> tuple[IntArray, NoiseRecord]:
    try:
        return load_noise(path, split.image_of_caption, split.n_images, fingerprint)
    except NoiseError as error:
        raise DataError(str(error)) from error


def _refuse_non_finite(split: PairsSplit) -> None:
    found = first_non_finite(split.features)
    if found:
        places = ", ".join(f"image {image} ({regions} regions)" for image, regions in found[:3])
        raise DataError(
            f"the {split.name} features hold NaN or infinite numbers in at least {len(found)} images: {places}; "
            "run 'robustcmr data check' for all of them and repair the file"
        )
