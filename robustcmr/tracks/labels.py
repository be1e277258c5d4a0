"""The labels track: the class of some pairs is wrong, and mean average precision is the measure.

This is the one place where true and given labels meet. Training gets the labels as given, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noise_injection import LabelNoiseRecord, save_label_noise
from robustcmr.config.resolve import RunConfig
from robustcmr.config.schema import EvaluationOptions, TextOptions, TrainingOptions
from robustcmr.data.base import LabelledData, LabelledSplit, TextReader
from robustcmr.data.captions import TokenTable
from robustcmr.data.labelled_pairs import NO_WORD, TrainingLabels, text_vector_batches
from robustcmr.data.pairs import image_batches
from robustcmr.data.placement import MemoryBudget
from robustcmr.errors import ConfigError, DataError, PluginError
from robustcmr.evaluation.mean_average_precision import (
    SCOPES,
    LabelRetrievalMetrics,
    label_retrieval_metrics_of_blocks,
)
from robustcmr.evaluation.scoring import Member
from robustcmr.matchers.base import Matcher
from robustcmr.runs.folder import RunFolder
from robustcmr.tracks.base import Measured, Track
from robustcmr.tracks.hidden_labels import HiddenLabels
from robustcmr.tracks.inputs import save_reader, text_reader
from robustcmr.tracks.noise import given_labels, refuse_non_finite
from robustcmr.tracks.vector_matchers import check_vector_matcher, unit_vectors
from robustcmr.types import DataSpec, Division, IntArray, LabelEstimate, MatcherInputs

CONFUSED_CLASSES = 50
"""With more classes than that no confusion matrix is kept; it would be larger than all other measures."""

TRIED_PAIRS = 16
"""Pairs of the training set on which a matcher is tried before training begins."""

SHORT_SCOPES = (1, 5, 10, 20)
"""Lengths of the ranking that are drawn besides the usual ones, for galleries of a few items."""


class LabelsTrack(Track):
    """Image-text pairs with a class each, right or wrong.

    Args:
        data: the opened data set.
        reader: how captions become indices; None where only vectors of the texts are known.
        training: the pairs with the labels as given, which is all that training sees.
        spec: what a matcher must know.
        truth: the labels as they are; stays here.
        noise: what was done to the labels.
        evaluation: batch and block sizes, and at which lengths mAP is given.
        settings: where the training vectors stay.
    """

    name = "labels"

    def __init__(
        self,
        data: LabelledData,
        reader: TextReader | None,
        training: TrainingLabels,
        spec: DataSpec,
        truth: HiddenLabels,
        noise: LabelNoiseRecord,
        evaluation: EvaluationOptions,
        settings: TrainingOptions,
    ) -> None:
        self.data: LabelledData = data
        self.reader = reader
        self.training: TrainingLabels = training
        self.spec = spec
        self._truth = truth
        self.noise = noise
        self._evaluation = evaluation
        self._settings = settings
        self._captions: dict[str, TokenTable] = {}

    @classmethod
    def build(cls, config: RunConfig, saved: RunFolder | None = None) -> LabelsTrack:
        """Open the data, read or make vocabulary and noise, and hide the truth.

        Args:
            config: the resolved configuration.
            saved: a run folder whose vocabulary and noise are to be used again, as far as they are there.

        Raises:
            UserError: data, vocabulary or noise file do not fit, vectors are not finite, or the matcher reads
                what this data does not have.
        """
        settings = config.settings
        data: LabelledData = config.data.cls(config.data.options)
        split = data.split("train")
        inputs: MatcherInputs = config.matcher.cls.inputs(config.matcher.options)  # type: ignore[attr-defined]
        _refuse_other_inputs(config, inputs, settings.text, split)
        if saved is None:  # else they were looked at when the run began
            refuse_non_finite(split.name, {"images": split.images, "texts": split.texts})
        given, noise = given_labels(settings, split, data.fingerprint("train"), saved)
        reader: TextReader | None = None
        captions: TokenTable | None = None
        if split.captions is not None:
            reader = text_reader(settings.text, split.captions, saved, inputs)
            captions = TokenTable.from_captions(split.captions, reader)
        training = TrainingLabels(
            split.images, split.texts, given, settings.augmentation.feature_noise, captions
        )
        truth = HiddenLabels(split.labels, len(split.class_names))
        spec = _spec(split, reader, captions)
        return cls(data, reader, training, spec, truth, noise, settings.evaluation, settings.training)

    def place_training(self, device: torch.device) -> None:
        """Hold the training vectors in memory or on a device, or leave them be; see :class:`Track`."""
        training = self._settings
        room = MemoryBudget.here(device, training.workers)
        self.training = self.training.placed(training.store, training.half_features, room)

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names."""
        return self.data.split("train").class_names

    @property
    def captions(self) -> Sequence[str] | None:
        """Texts of the training pairs as they were written; None where only vectors exist."""
        return self.data.split("train").captions

    def provenance(self) -> dict[str, Any]:
        """Data fingerprint and everything about the noise."""
        return {
            "track": self.name,
            "data_fingerprint": self.noise.data_fingerprint,
            "training_pairs": len(self.training),
            "n_classes": self._truth.n_classes,
            "noise_kind": self.noise.noise,
            "protocol": self.noise.protocol,
            "noise_ratio": self.noise.ratio_asked,
            "noise_ratio_realised": self._truth.wrong_share(self.training.labels),
            "noise_hash": self.noise.labels_sha256,
            "noise": self.noise.to_dict(),
        }

    def save(self, run: RunFolder) -> None:
        """Write ``noise.npz``, and ``vocabulary.json`` where the run reads captions by its own."""
        save_label_noise(run.noise, self.training.labels, self.noise)
        if self.reader is not None:
            save_reader(self.reader, run)

    def method_arguments(self, matchers: Sequence[Matcher], device: torch.device) -> tuple[int, int]:
        """Number of classes and of numbers of the matchers' vectors; see :class:`Track`."""
        few = np.arange(min(len(self.training), TRIED_PAIRS), dtype=np.int64)
        batch = self.training.batch(few).to(device)
        widths = [check_vector_matcher(matcher, batch, self.reader is not None) for matcher in matchers]
        return self._truth.n_classes, widths[0]

    def members(self, matchers: Sequence[Matcher], split: str) -> list[Member]:
        """Matchers together with a split as this run's vocabulary reads it."""
        opened, size = self.data.split(split), self._evaluation.batch_size
        self._check_widths(opened)
        captions = self._tokens(opened)
        return [
            Member(
                matcher,
                lambda: image_batches(opened.images, size),
                lambda: text_vector_batches(opened.texts, size, captions),
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
        """Mean average precision both ways over a split, by the mean cosine; see :class:`Track`."""
        if folds is not None:
            raise ConfigError(
                "folds are for recalls of captions; mean average precision is measured over the whole split, "
                "so leave --fold5 out"
            )
        labels = self.data.split(split).labels
        sides: list[tuple[Tensor, Tensor]] = []
        for member in members:
            matcher = member.matcher
            images = unit_vectors(matcher, matcher.encode_images, member.image_batches(), device, after_block)
            texts = unit_vectors(matcher, matcher.encode_texts, member.text_batches(), device, after_block)
            sides.append((images, texts))  # (n, D) each
        alone = [self._map(*side, labels, after_block) for side in sides]
        found = alone[0]
        if len(sides) > 1:  # the mean of cosines is the inner product of vectors set side by side
            images, texts = (
                torch.cat(side, dim=1) / math.sqrt(len(sides)) for side in zip(*sides, strict=True)
            )
            found = self._map(images, texts, labels, after_block)
        by_model, metrics = [each.to_dict() for each in alone], found.to_dict()
        queries = {"i2t_ap": found.ap_i2t, "t2i_ap": found.ap_t2i}
        return Measured("full", metrics, by_model, [metrics], queries)

    def diagnose(self, belief: Division | LabelEstimate) -> dict[str, dict[str, Any]]:
        """How right given and corrected labels are; see :class:`Track`.

        Under ``correction`` the measures, and under ``confusion`` the matrices, which are kept for up to 50
        classes alone.
        """
        if not isinstance(belief, LabelEstimate):
            raise PluginError(
                f"the method believes a {type(belief).__name__} of pairs with classes; return a LabelEstimate"
            )
        if not self.data.split("train").trusted:
            return {}
        found = self._truth.judge(self.training.labels, belief)
        judged: dict[str, dict[str, Any]] = {"correction": found.to_dict()}
        if self._truth.n_classes <= CONFUSED_CLASSES:
            judged["confusion"] = found.confusions()
        return judged

    def selection_score(self, measured: dict[str, Any]) -> float:
        """The mean of both directions' mean average precision."""
        return float(measured["map"])

    def _map(
        self, images: Tensor, texts: Tensor, labels: IntArray, after_block: Callable[[], None] | None
    ) -> LabelRetrievalMetrics:
        def products(queries: Tensor, gallery: Tensor, rows: slice) -> Tensor:
            if after_block is not None:
                after_block()
            return queries[rows] @ gallery.T  # (b, n)

        return label_retrieval_metrics_of_blocks(
            lambda rows: products(images, texts, rows),
            lambda rows: products(texts, images, rows),
            labels,
            labels,
            self._evaluation.map_at,
            (*SHORT_SCOPES, *SCOPES),
            self._evaluation.block_mib * 2**20,
        )

    def _tokens(self, split: LabelledSplit) -> TokenTable | None:
        if self.reader is None:
            return None
        if split.captions is None:
            raise DataError(
                f"the train split has captions and the {split.name} split has none; expected the same in all"
            )
        if split.name not in self._captions:
            self._captions[split.name] = TokenTable.from_captions(split.captions, self.reader)
        return self._captions[split.name]

    def _check_widths(self, split: LabelledSplit) -> None:
        """Refuse a split whose vectors a matcher of the training split cannot read."""
        for what, width, expected in (
            ("an image", split.images.shape[2], self.spec.feature_width),
            ("a text", split.texts.shape[2], self.spec.text_width),
        ):
            if width != expected:
                raise DataError(
                    f"the {split.name} split has {width} numbers {what} and the train split {expected}; "
                    "expected the same, so make both with the same program"
                )


def _spec(split: LabelledSplit, reader: TextReader | None, captions: TokenTable | None) -> DataSpec:
    spec = DataSpec(
        feature_width=split.images.shape[2],
        n_regions=1,
        vocabulary_size=1,
        longest_caption=1,
        padding_index=NO_WORD,
        unknown_index=NO_WORD,
        text_width=split.texts.shape[2],
    )
    if reader is None or captions is None:
        return spec
    return replace(
        spec,
        vocabulary_size=len(reader),
        longest_caption=captions.longest,
        padding_index=reader.padding_index,
        unknown_index=reader.unknown_index,
        words=reader.words,
    )


def _refuse_other_inputs(
    config: RunConfig, inputs: MatcherInputs, text: TextOptions, split: LabelledSplit
) -> None:
    """Refuse a matcher or vocabulary that reads what labelled data do not hold."""
    if inputs.image_processor is not None:
        raise DataError(
            f"{config.matcher.name} reads pictures by the image processor of {inputs.image_processor}, and "
            f"{config.data.name} gives one vector an image; use a matcher that reads vectors, such as "
            "--matcher two_tower or --matcher embeddings"
        )
    if split.captions is None and inputs.tokenizer is not None:
        raise DataError(
            f"{config.matcher.name} reads captions by the tokenizer of {inputs.tokenizer}, and "
            f"{config.data.name} has only vectors of its texts; use a matcher that reads these, such as "
            "--matcher two_tower or --matcher embeddings"
        )
    if split.captions is None and text.vocabulary is not None:
        raise ConfigError(
            f"text.vocabulary is set, but {config.data.name} has no captions that it could read; leave "
            "text.vocabulary out"
        )
