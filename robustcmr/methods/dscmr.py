"""DSCMR: linear regression of classes, and a common space in which pairs and classes meet; trusts labels."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from robustcmr.losses.class_labels import row_distance, same_class_likelihood
from robustcmr.methods.label_baselines import AnchorMethod, LabelCrossEntropyOptions
from robustcmr.options import Options


class DscmrOptions(LabelCrossEntropyOptions):
    """Options of DSCMR."""

    temperature: float = Field(
        1.0, gt=0.0, description="temperature of estimated class probabilities; no loss depends on it"
    )
    likelihood_weight: float = Field(
        1e-3, ge=0.0, description="weight of the likelihood that vectors of one class are alike"
    )
    invariance_weight: float = Field(
        0.1, ge=0.0, description="weight of the distance between the image and the text of a pair"
    )


class Dscmr(AnchorMethod):
    """Deep supervised cross-modal retrieval, a baseline that believes every label.

    The losses are

    - the distance of the class logits of image and text to the one-hot label;
    - the likelihood that vectors of one class are alike: among images, among texts, and across;
    - the distance between the image and the text of a pair.

    From the released code: the distances are means over pairs, not squared (paper: Frobenius norms of the
    batch over B), and the weights 1e-3 and 0.1.

    Departures: the logits are cosines with class anchors, where the paper has a linear layer that both
    modalities share; towers, learning rate and epochs are the run's (paper: 2048 and 1024 units, the last
    layer shared; Adam 1e-4, 500 epochs, batches of 100). The best epoch is chosen on dev; the released code
    chooses it on the test set.

    References:
        Zhen et al., "Deep Supervised Cross-Modal Retrieval", CVPR 2019, equations 2 to 6.
    """

    Config: ClassVar[type[Options]] = DscmrOptions
    config: DscmrOptions

    def losses(
        self, images: Tensor, texts: Tensor, of_images: Tensor, of_texts: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """The three losses, each a mean over the pairs."""
        anchors, config = self.anchors(), self.config
        regression = row_distance(images @ anchors.T, of_images) + row_distance(texts @ anchors.T, of_texts)
        likelihood = (
            same_class_likelihood(images, images, of_images @ of_images.T)
            + same_class_likelihood(texts, texts, of_texts @ of_texts.T)
            + same_class_likelihood(images, texts, of_images @ of_texts.T)
        )  # (B,)
        return {
            "class_loss": (weights * regression).mean(),
            "likelihood_loss": config.likelihood_weight * (weights * likelihood).mean(),
            "invariance_loss": config.invariance_weight * row_distance(images, texts).mean(),
        }
