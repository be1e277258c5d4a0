"""The labels track: the class of some pairs is wrong, and mean average precision is the measure.

True and given labels meet here and nowhere else. Training gets the labels as given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from noise_injection import save_label_noise
from robustcmr.config.resolve import RunConfig
from robustcmr.config.schema import Settings, TextOptions
from robustcmr.data.base import LabelledData, LabelledSplit, TextReader
from robustcmr.data.captions import TokenTable
from robustcmr.data.pairs import NO_WORD, TrainingLabels, image_batches, text_batches
from robustcmr.data.scan import refuse_non_finite
from robustcmr.errors import ConfigError, DataError
from robustcmr.evaluation.chance import Chance, average_precision_chance
from robustcmr.evaluation.label_diagnosis import LabelDiagnosis, diagnose_labels
from robustcmr.evaluation.mean_average_precision import (
    SCOPES,
    LabelRetrievalMetrics,
    label_retrieval_metrics,
)
from robustcmr.evaluation.protocols import Measured, Member
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Scorer
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.inputs import RunInputs
from robustcmr.runs.labels_table import LabelsTable
from robustcmr.tracks.base import Estimate, Findings, OpenedData, Track
from robustcmr.tracks.inputs import check_width, preparation, save_inputs, text_reader
from robustcmr.tracks.noise import given_labels
from robustcmr.tracks.vector_matchers import check_vector_matcher, unit_vectors
from robustcmr.types import DataSpec, IntArray, LabelEstimate, MatcherInputs

CONFUSED_CLASSES = 50
"""Most classes for which confusion matrices are kept; beyond, they would dwarf all other measures."""

TRIED_PAIRS = 16
"""Training pairs on which a matcher is tried before training begins."""

SHORT_SCOPES = (1, 5, 10, 20)
"""Ranking lengths reported besides the usual ones, for small galleries."""


@dataclass(frozen=True)
class HiddenLabels:
    """The true classes of the training pairs; never handed to a matcher, a method or correction code."""

    labels: IntArray  # (N,) int64
    n_classes: int  # K

    def wrong_share(self, given: IntArray) -> float:
        """Return the share of wrong labels among (N, M) given ones, in [0, 1]."""
        return float(np.not_equal(given, self.labels[:, None]).mean())

    def diagnose(self, given: IntArray, estimate: LabelEstimate) -> LabelDiagnosis:
        """Compare (N, M) given labels, and a method's estimate, with the truth."""
        return diagnose_labels(
            given, estimate.corrected, self.labels, self.n_classes, estimate.evidence, estimate.confidence
        )


class LabelsTrack(Track):
    """Image-text pairs with a class each, right or wrong."""

    name = "labels"
    estimates = LabelEstimate

    def __init__(self, settings: Settings, opened: OpenedData) -> None:
        super().__init__(settings, opened)
        split = opened.data.split("train")
        self._truth = HiddenLabels(split.labels, len(split.class_names))

    @staticmethod
    def open(config: RunConfig, saved: RunFolder | None) -> OpenedData:
        """Open the data; see :class:`Track`."""
        settings = config.settings
        data: LabelledData = config.data.cls(config.data.options)
        split = data.split("train")
        inputs: MatcherInputs = config.matcher.cls.inputs(config.matcher.options)  # type: ignore[attr-defined]
        _check_inputs(config, inputs, settings.text, split)
        if saved is None:  # else they were checked when the run began
            refuse_non_finite(split.name, {"images": split.images, "texts": split.texts})
        given, noise = given_labels(settings, split, data.known_fingerprints("train"), saved)
        spec = DataSpec(
            feature_width=split.images.shape[2],
            n_regions=1,
            vocabulary_size=1,
            longest_caption=1,
            padding_index=NO_WORD,
            unknown_index=NO_WORD,
            text_width=split.texts.shape[2],
        )
        reader: TextReader | None = None
        captions: TokenTable | None = None
        if split.captions is not None:
            reader = text_reader(settings.text, split.captions, saved, inputs)
            captions = TokenTable.from_captions(split.captions, reader)
            spec = replace(
                spec,
                vocabulary_size=len(reader),
                longest_caption=captions.longest,
                padding_index=reader.padding_index,
                unknown_index=reader.unknown_index,
                words=reader.words,
            )
        training = TrainingLabels(
            split.images, split.texts, given, settings.augmentation.feature_noise, captions
        )
        return OpenedData(data, reader, training, spec, noise)

    @property
    def class_names(self) -> tuple[str, ...]:
        """K class names."""
        return cast(tuple[str, ...], self.data.split("train").class_names)

    def provenance(self) -> dict[str, Any]:
        """Return data fingerprint and noise record; see :class:`Track`."""
        return {
            "track": self.name,
            "data_fingerprint": self.noise.data_fingerprint,
            **self.older_fingerprints(),
            "training_pairs": len(self.training),
            "n_classes": self._truth.n_classes,
            "noise_kind": self.noise.noise,
            "protocol": self.noise.protocol,
            "noise_ratio": self.noise.ratio_asked,
            "noise_ratio_realised": self._truth.wrong_share(self.training.labels),
            "noise_hash": self.noise.labels_sha256,
            "noise": self.noise.to_dict(),
        }

    def inputs(self) -> RunInputs:
        """Return how the run's matcher reads vectors and captions, with their preparation."""
        split = self.data.split("train")
        return replace(super().inputs(), images=preparation(split.images), texts=preparation(split.texts))

    def save(self, run: RunFolder) -> None:
        """Write ``noise.npz``, ``inputs.json``, and ``vocabulary.json`` if the run has its own vocabulary."""
        save_label_noise(run.noise, self.training.labels, self.noise)
        save_inputs(run, self.inputs(), self.reader)

    def method_arguments(self, matchers: Sequence[Matcher], device: torch.device) -> tuple[int, int]:
        """Return the number of classes and the width of the matchers' vectors; see :class:`Track`."""
        few = np.arange(min(len(self.training), TRIED_PAIRS), dtype=np.int64)
        batch = self.training.batch(few).to(device)
        widths = [check_vector_matcher(matcher, batch, self.reader is not None) for matcher in matchers]
        return self._truth.n_classes, widths[0]

    def members(self, matchers: Sequence[Matcher], split: str) -> list[Member]:
        """Combine matchers with a split; see :class:`Track`."""
        opened: LabelledSplit = self.data.split(split)
        size = self.settings.evaluation.batch_size
        check_width(split, "an image", opened.images.shape[2], self.spec.feature_width)
        check_width(split, "a text", opened.texts.shape[2], self.spec.text_width)
        captions = None
        if self.reader is not None:
            if opened.captions is None:
                raise DataError(
                    f"the train split has captions and the {split} split has none; expected the same in all"
                )
            captions = self._tokens(split, opened.captions)
        return [
            Member(
                matcher,
                lambda: image_batches(opened.images, size),
                lambda: text_batches(captions, size, opened.texts, "text"),
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
        """Measure mean average precision both ways over a split, by the mean cosine; see :class:`Track`."""
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
        if len(sides) > 1:  # the mean of cosines is the inner product of concatenated vectors
            images, texts = (
                torch.cat(side, dim=1) / math.sqrt(len(sides)) for side in zip(*sides, strict=True)
            )
            found = self._map(images, texts, labels, after_block)
        by_model, metrics = [each.to_dict() for each in alone], found.to_dict()
        queries = {"i2t_ap": found.ap_i2t, "t2i_ap": found.ap_t2i}
        return Measured("full", metrics, by_model, [metrics], queries)

    def _map(
        self, images: Tensor, texts: Tensor, labels: IntArray, after_block: Callable[[], None] | None
    ) -> LabelRetrievalMetrics:
        def products(queries: Tensor, gallery: Tensor, rows: slice) -> Tensor:
            if after_block is not None:
                after_block()
            return queries[rows] @ gallery.T  # (b, n)

        return label_retrieval_metrics(
            lambda rows: products(images, texts, rows),
            lambda rows: products(texts, images, rows),
            labels,
            labels,
            self.settings.evaluation.map_at,
            (*SHORT_SCOPES, *SCOPES),
            self.block_bytes,
        )

    def chance(self, split: str) -> Chance:
        """Return mean average precision of a matcher that guesses; see :class:`Track`."""
        return average_precision_chance(self.data.split(split).labels)

    def diagnose(self, estimate: Estimate) -> dict[str, dict[str, Any]]:
        """Return accuracies of given and corrected labels under ``correction``; see :class:`Track`.

        The matrices under ``confusion`` are kept for up to 50 classes.
        """
        self.check_estimate(estimate)
        if not self.data.split("train").trusted:
            return {}
        diagnosis = self._truth.diagnose(self.training.labels, cast(LabelEstimate, estimate))
        found: dict[str, dict[str, Any]] = {"correction": diagnosis.to_dict()}
        if self._truth.n_classes <= CONFUSED_CLASSES:
            found["confusion"] = diagnosis.confusions()
        return found

    def findings(
        self, estimate: Estimate, matcher: Matcher, scorer: Scorer, device: torch.device
    ) -> Findings:
        """Return given and corrected labels; see :class:`Track`."""
        del matcher, scorer, device
        found = self.diagnose(estimate)
        confusion = found.pop("confusion", None)
        labels = cast(LabelEstimate, estimate)
        given: IntArray = self.training.labels  # (N, M)
        table = LabelsTable(
            pair=np.arange(len(given), dtype=np.int64),
            given=given[:, 0],
            corrected=labels.corrected,
            confidence=labels.confidence,
            class_names=self.class_names,
            given_text=given[:, 1] if given.shape[1] > 1 else None,
            evidence=labels.evidence,
            caption=self.data.split("train").captions,
        )
        changed, confidence = float(table.changed.mean()), float(labels.confidence.mean())
        return Findings(table, {"changed": changed, "confidence": confidence, **found}, confusion=confusion)


def _check_inputs(config: RunConfig, inputs: MatcherInputs, text: TextOptions, split: LabelledSplit) -> None:
    """Refuse a matcher or vocabulary that needs inputs which labelled data lack."""
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
