"""RCL: complementary contrastive learning from all given pairs, without a division."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from robustcmr.losses.complementary import Shape, complementary_loss
from robustcmr.methods.baseline import Baseline, InfoNCEOptions
from robustcmr.options import Options


class RCLOptions(InfoNCEOptions):
    """Options of RCL."""

    shape: Shape = Field(
        "log", description="loss of a negative by its probability; see losses.complementary_loss"
    )
    power: float = Field(0.2, gt=0.0, le=1.0, description="exponent of the shape (gce)")


class RCL(Baseline):
    """Robust cross-modal learning: push negatives down, never a given pair up by itself.

    The loss of a pair is the sum of -log(1 - p) over its negatives, in both directions; the mean over the
    batch is minimised. A given pair gains only as the negatives lose, and a wrong one costs no more than its
    row. There is no warm-up, no division and no state, so nothing is estimated of single pairs.

    Taken from the paper: temperature 0.05 and the shapes of the loss. From the released code: ``log`` as the
    default, its floor of 1e-10, and 0.2 as the exponent of ``gce``. The released random subset of negatives,
    off by default, is left out. Departure: captions of the same image are not negatives unless
    ``mask_same_image`` is false. The paper's schedule: Flickr30K 30 epochs of Adam at 2e-4, a tenth from
    epoch 15; MS-COCO 20 epochs at 5e-4, a tenth from epoch 10; batches of 128.

    References:
        Hu et al., "Cross-Modal Retrieval with Partially Mismatched Pairs", TPAMI 2023.
    """

    Config: ClassVar[type[Options]] = RCLOptions
    config: RCLOptions

    def pair_losses(self, scores: Tensor, same_image: Tensor | None) -> Tensor:
        """(B,) complementary loss of each pair."""
        config = self.config
        return complementary_loss(scores, config.temperature, config.shape, same_image, power=config.power)
