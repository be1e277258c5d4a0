"""Baselines for noisy class labels: cross entropy, which trusts every label, and MRL, which is robust."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from robustcmr.losses.class_anchors import anchor_cross_entropy, multimodal_contrast, robust_clustering
from robustcmr.methods.labels import LabelMethod
from robustcmr.methods.step_results import added
from robustcmr.options import Options
from robustcmr.types import PairBatch, StepResult


class LabelCrossEntropyOptions(Options):
    """Options of the cross entropy against class anchors."""

    temperature: float = Field(
        1.0, gt=0.0, description="temperature of class probabilities, in units of the cosine"
    )


class MRLOptions(LabelCrossEntropyOptions):
    """Options of MRL."""

    beta: float = Field(
        0.7, ge=0.0, le=1.0, description="weight of the class loss; the contrast has 1 - beta"
    )
    contrast_temperature: float = Field(
        1.0, gt=0.0, description="temperature of the contrast between pairs, in units of the cosine"
    )


class AnchorMethod(LabelMethod):
    """Losses of image vectors, text vectors and their classes."""

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """Encode the batch and add up its losses."""
        batch = batches["all"]
        images, texts = self.encode(batch)
        return added(self.losses(images, texts, *self.class_targets(batch, images)))

    def class_targets(self, batch: PairBatch, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Target classes (B, K) of images and texts, as given by default, and weights (B,) of the pairs."""
        return *self.given_targets(batch, like), like.new_ones(len(batch))

    @abstractmethod
    def losses(
        self, images: Tensor, texts: Tensor, of_images: Tensor, of_texts: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """Scalar losses by name, from unit vectors (B, D) and targets (B, K) of both sides."""


class LabelCrossEntropy(AnchorMethod):
    """Cross entropy of images and texts against class anchors, which fits the noise."""

    Config: ClassVar[type[Options]] = LabelCrossEntropyOptions
    config: LabelCrossEntropyOptions

    def losses(
        self, images: Tensor, texts: Tensor, of_images: Tensor, of_texts: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """The cross entropy, mean over both sides."""
        anchors, tau = self.anchors(), self.config.temperature
        by_image = anchor_cross_entropy(images, anchors, of_images, tau)  # (B,)
        by_text = anchor_cross_entropy(texts, anchors, of_texts, tau)  # (B,)
        return {"class_loss": (weights * (by_image + by_text)).mean() / 2}


class MRL(AnchorMethod):
    """Multimodal robust learning: robust clustering plus a contrast between pairs that ignores labels.

    Departures from the paper: anchors are normalised where they are used, not after each step; learning rate
    and tower widths are the run's and the matcher's (paper: 1e-4, two hidden layers of 4096, vectors of 512).

    References:
        Hu et al., "Learning Cross-Modal Retrieval with Noisy Labels", CVPR 2021.
    """

    Config: ClassVar[type[Options]] = MRLOptions
    config: MRLOptions

    def losses(
        self, images: Tensor, texts: Tensor, of_images: Tensor, of_texts: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """See :func:`mrl_losses`."""
        return mrl_losses(images, texts, self.anchors(), of_images, of_texts, weights, self.config)


def mrl_losses(
    images: Tensor,
    texts: Tensor,
    anchors: Tensor,
    of_images: Tensor,
    of_texts: Tensor,
    weights: Tensor,
    config: MRLOptions,
) -> dict[str, Tensor]:
    """Return the robust clustering loss, its pairs weighted by ``weights`` (B,), and the contrast."""
    by_image = robust_clustering(images, anchors, of_images, config.temperature)  # (B,)
    by_text = robust_clustering(texts, anchors, of_texts, config.temperature)  # (B,)
    contrast = multimodal_contrast(images, texts, config.contrast_temperature)  # (B,)
    return {
        "class_loss": config.beta * (weights * (by_image + by_text)).mean() / 2,
        "contrast_loss": (1 - config.beta) * contrast.mean(),
    }
