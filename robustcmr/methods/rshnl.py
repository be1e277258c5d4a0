"""RSHNL's losses on class anchors: a bounded cross entropy, learned from easy pairs to hard ones."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from robustcmr.losses.class_anchors import anchor_cross_entropy, contrast_log_probabilities
from robustcmr.losses.class_labels import bounded_cross_entropy, self_paced_loss
from robustcmr.methods.label_baselines import AnchorMethod, LabelCrossEntropyOptions
from robustcmr.options import Options


class RshnlOptions(LabelCrossEntropyOptions):
    """Options of RSHNL; epochs count from 0."""

    q: float = Field(
        0.01, gt=0.0, le=1.0, description="0 is the cross entropy, 1 the mean absolute error; between, both"
    )
    gamma: float = Field(
        5.0, gt=0.0, description="class loss of a pair, of both modalities, from which on it is left out"
    )
    warmup_epochs: int = Field(2, ge=0, description="epochs in which no pair is left out")
    contrast_weight: float = Field(0.3, ge=0.0, description="alpha, weight of the contrast between pairs")
    contrast_temperature: float = Field(
        1.0, gt=0.0, description="temperature of the contrast between pairs, in units of the cosine"
    )


class Rshnl(AnchorMethod):
    """Self-paced learning of classes by a bounded loss, plus a contrast between pairs that ignores labels.

    The class loss of a pair is that of image and text. After the warm-up it is weighted by
    max(0, 1 - loss / gamma): pairs that the model finds unlikely, such as those with wrong labels, are left
    out. The contrast is that of MRL through the same bounded loss.

    The paper learns binary codes (hashing) of 128 bits from tanh outputs; here the losses alone are taken, on
    real vectors of length 1. Departures: classes are learned unit vectors (paper: an MLP of one-hot classes);
    learning rate, batch and epochs are the run's (paper: Adam 1e-4, 256, 150 epochs, 5 of them warm-up).
    The paper sets gamma to 3, 5, 8 or 9 and alpha to 0.05 to 0.3 by data set; ours are one for all.

    References:
        RSHNL, AAAI 2025, with constants from the released code.
    """

    Config: ClassVar[type[Options]] = RshnlOptions
    config: RshnlOptions

    def losses(
        self, images: Tensor, texts: Tensor, of_images: Tensor, of_texts: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """The class loss, self-paced after the warm-up, and the contrast, each a mean over the pairs."""
        anchors, config = self.anchors(), self.config
        sides = ((images, of_images), (texts, of_texts))
        by_image, by_text = (
            bounded_cross_entropy(-anchor_cross_entropy(side, anchors, of, config.temperature), config.q)
            for side, of in sides
        )  # (B,)
        by_class = by_image + by_text
        if self.epoch >= config.warmup_epochs:
            by_class = self_paced_loss(by_class, config.gamma)
        contrast = bounded_cross_entropy(
            contrast_log_probabilities(images, texts, config.contrast_temperature), config.q
        )  # (2, B)
        return {
            "class_loss": (weights * by_class).mean(),
            "contrast_loss": config.contrast_weight * contrast.sum(0).mean(),
        }
