"""SPS: the surest pairs shape the space, and suspected images get the caption of a sure image like them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from robustcmr.correction.replacement import nearest_clean, replaced_texts, same_replacement
from robustcmr.losses.cross_entropy import infonce_loss, match_probability
from robustcmr.losses.structure import structure_loss, symmetry_loss
from robustcmr.matchers.base import evaluation_mode, item_vectors
from robustcmr.methods.peers import PeerMethod, PeerOptions, steady_scores
from robustcmr.options import Options
from robustcmr.selection.agreement import threshold_sets
from robustcmr.types import Division, PairBatch, StepResult


class SpsOptions(PeerOptions):
    """Options of SPS; epochs count from 0 and are scaled to a run of 12."""

    temperature: float = Field(0.07, gt=0.0, description="tau of every softmax, in units of the score")
    strict_threshold: float = Field(0.6, gt=0.0, lt=1.0, description="least probability of strict pairs")
    symmetry_weight: float = Field(25.0, ge=0.0, description="weight of the symmetry of scores")
    structure_weight: float = Field(25.0, ge=0.0, description="weight of equal similarities on both sides")
    clean_epoch: int = Field(3, ge=0, description="first epoch of clean pairs that are not strictly clean")
    noisy_epoch: int = Field(5, ge=0, description="first epoch of noisy pairs, their captions replaced")
    least_confidence: float = Field(0.5, ge=0.0, le=1.0, description="a noisy pair of less is left out")


class Sps(PeerMethod):
    """Two matchers; each learns from three groups by the peer's clean probability p.

    1. Warm-up: cross entropy of all pairs, both directions added. Each later epoch, a normal mixture of that
       loss gives clean probabilities.
    2. ``strict`` pairs, p > 0.6: cross entropy, symmetric scores, and images as similar to each other as
       their captions. ``clean`` ones, p > 0.5: cross entropy weighted by p + (1 - p) m, with m the own match
       probability in the batch. ``noisy`` ones: the image gets the caption of the most similar image of the
       step's strict batch; weighted by m of the new pair times the cosine of both images, 0 below 0.5.

    All constants are the released code's. Images are compared by the own matcher's vectors, pooled or mean
    fragments; these and m are those of evaluation mode, without gradient.

    Not repeated: several images may get the same caption, which the code takes for a negative of each; here
    replaced pairs with captions of one image are no negatives of each other. ``released: true`` restores
    that, with the released mixture and captions of one image as negatives.
    The paper's schedule: 5 epochs of warm-up, then 40 (MS-COCO 20), clean pairs from 10, noisy from 15.

    References:
        SPS, IJCAI 2025.
    """

    Config: ClassVar[type[Options]] = SpsOptions
    config: SpsOptions

    def evidence(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """(B,) cross entropy of each pair."""
        return self._cross_entropy(scores, self.not_negatives(batch))

    def warmup_loss(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """Mean cross entropy of all pairs."""
        return self.evidence(scores, batch).mean()

    def groups(self, division: Division) -> dict[str, npt.NDArray[np.bool_]]:
        """(N,) members of each group of a matcher, by its peer's division."""
        limits = (max(self.config.strict_threshold, division.threshold), division.threshold)
        strict, clean, noisy = threshold_sets(division.clean_probability, limits)
        return {"strict": strict, "clean": clean, "noisy": noisy}

    def first_epoch(self, group: str) -> int:
        """Strictly clean pairs from the start, others later."""
        return {"clean": self.config.clean_epoch, "noisy": self.config.noisy_epoch}.get(group, 0)

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """Learn from all groups; the noisy ones take captions from the strict ones."""
        self._batches = batches
        return super().training_step(batches)

    def learn(self, own: int, group: str, batch: PairBatch) -> dict[str, Tensor]:
        """Mean losses of a batch of strictly clean, clean or noisy pairs."""
        if group == "noisy":
            return {"noisy_loss": self._replaced(own, batch)}
        matcher, config = self.matchers[own], self.config
        images, texts = matcher.encode_images(batch.images), matcher.encode_texts(batch.texts)
        scores = matcher.score(images, texts)
        losses = self.evidence(scores, batch)
        if group == "clean":
            steady, same = steady_scores(matcher, batch), self.not_negatives(batch)
            m, p = match_probability(steady, config.temperature, same), self.peer_probability(own, batch)
            return {"clean_loss": ((p + (1 - p) * m) * losses).mean()}
        symmetry = config.symmetry_weight * symmetry_loss(scores).mean()
        structure = config.structure_weight * structure_loss(item_vectors(images), item_vectors(texts)).mean()
        return {"strict_loss": losses.mean(), "symmetry_loss": symmetry, "structure_loss": structure}

    def _replaced(self, own: int, batch: PairBatch) -> Tensor:
        """Scalar weighted cross entropy of noisy images with captions of strict pairs; 0 without these."""
        matcher, strict = self.matchers[own], self._batches.get(f"strict_{own}")
        if strict is None:
            unused: Tensor = matcher(batch.images, batch.texts)
            return 0.0 * unused.float().sum()
        with torch.no_grad(), evaluation_mode(matcher):
            images, texts = matcher.encode_images(batch.images), matcher.encode_texts(strict.texts)
            found = nearest_clean(item_vectors(images), item_vectors(matcher.encode_images(strict.images)))
            same = self.not_negatives(batch)
            if same is not None:
                same = same | same_replacement(found.index, strict.same_image)
            steady = matcher.score(images, texts[found.index])
            y = match_probability(steady, self.config.temperature, same) * found.cosine
        scores = matcher(batch.images, replaced_texts(strict.texts, found.index))
        return (y * (y >= self.config.least_confidence) * self._cross_entropy(scores, same)).mean()

    def _cross_entropy(self, scores: Tensor, same: Tensor | None) -> Tensor:
        return 2 * infonce_loss(scores.float(), self.config.temperature, same)
