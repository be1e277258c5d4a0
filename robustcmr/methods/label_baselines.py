"""Baselines for noisy class labels: cross entropy, which trusts every label, and MRL, which is robust."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robustcmr.losses.class_anchors import anchor_cross_entropy, multimodal_contrast, robust_clustering
from robustcmr.methods.labels import LabelMethod, given_classes
from robustcmr.options import Options
from robustcmr.types import PairBatch, StepResult


class LabelCrossEntropyOptions(Options):
    """Options of the cross entropy against class anchors."""

    temperature: float = Field(
        1.0, gt=0.0, description="temperature of class probabilities, in units of the cosine"
    )


class MRLOptions(Options):
    """Options of MRL."""

    temperature: float = Field(
        1.0, gt=0.0, description="temperature of class probabilities, in units of the cosine"
    )
    beta: float = Field(
        0.7, ge=0.0, le=1.0, description="weight of the class loss; the contrast has 1 - beta"
    )
    contrast_temperature: float = Field(
        1.0, gt=0.0, description="temperature of the contrast between pairs, in units of the cosine"
    )


class AnchorBaseline(LabelMethod):
    """Losses of image vectors, text vectors and their given classes."""

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """Encode the batch and add up its losses."""
        batch = batches["all"]
        images, texts = self.encode(batch)
        of_images, of_texts = (
            F.one_hot(labels, self.n_classes).to(images.dtype) for labels in given_classes(batch)
        )  # (B, K) each
        losses = self.losses(images, texts, of_images, of_texts)
        total = sum(losses.values(), images.new_zeros(()))
        return StepResult(total, {name: value.detach() for name, value in losses.items()})

    @abstractmethod
    def losses(self, images: Tensor, texts: Tensor, of_images: Tensor, of_texts: Tensor) -> dict[str, Tensor]:
        """Scalar losses by name, from unit vectors (B, D) and one-hot classes (B, K) of both sides."""


class LabelCrossEntropy(AnchorBaseline):
    """Cross entropy of images and texts against class anchors, which fits the noise."""

    Config: ClassVar[type[Options]] = LabelCrossEntropyOptions
    config: LabelCrossEntropyOptions

    def losses(self, images: Tensor, texts: Tensor, of_images: Tensor, of_texts: Tensor) -> dict[str, Tensor]:
        """The cross entropy, mean over both sides."""
        anchors, tau = self.anchors(), self.config.temperature
        by_image = anchor_cross_entropy(images, anchors, of_images, tau)  # (B,)
        by_text = anchor_cross_entropy(texts, anchors, of_texts, tau)  # (B,)
        return {"class_loss": (by_image + by_text).mean() / 2}


class MRL(AnchorBaseline):
    """Multimodal robust learning: robust clustering plus a contrast between pairs that ignores labels.

    Departures from the paper: anchors are normalised where they are used, not after each step; learning rate
    and tower widths are the run's and the matcher's (paper: 1e-4, two hidden layers of 4096, vectors of 512).

    References:
        Hu et al., "Learning Cross-Modal Retrieval with Noisy Labels", CVPR 2021.
    """

    Config: ClassVar[type[Options]] = MRLOptions
    config: MRLOptions

    def losses(self, images: Tensor, texts: Tensor, of_images: Tensor, of_texts: Tensor) -> dict[str, Tensor]:
        """The robust clustering loss, mean over both sides, and the contrast, each with its weight."""
        anchors, config = self.anchors(), self.config
        by_image = robust_clustering(images, anchors, of_images, config.temperature)  # (B,)
        by_text = robust_clustering(texts, anchors, of_texts, config.temperature)  # (B,)
        contrast = multimodal_contrast(images, texts, config.contrast_temperature)  # (B,)
        return {
            "class_loss": config.beta * (by_image + by_text).mean() / 2,
            "contrast_loss": (1 - config.beta) * contrast.mean(),
        }
