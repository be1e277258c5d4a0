"""Baselines that trust every given pair: hinge, InfoNCE and robust cross entropy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from robustcmr.losses.cross_entropy import infonce_loss, robust_cross_entropy_loss
from robustcmr.losses.hinge import hinge_loss
from robustcmr.methods.base import Method
from robustcmr.options import Options
from robustcmr.types import PairBatch, StepResult


class BaselineOptions(Options):
    """Options of every baseline."""

    reduction: Literal["sum", "mean"] = Field("mean", description="reduction over the pairs of a batch")
    mask_same_image: bool = Field(
        True,
        description="captions of the same image are not used as negatives; released code does not mask them",
    )


class HingeOptions(BaselineOptions):
    """Options of the hinge baseline."""

    reduction: Literal["sum", "mean"] = Field("sum", description="reduction over the pairs of a batch")
    margin: float = Field(0.05, gt=0.0, description="required distance to a negative, in units of the score")
    negatives: Literal["hardest", "all"] = Field("hardest", description="negatives from switch_epoch on")
    switch_epoch: int = Field(8, ge=0, description="epochs (from 0) before it use all negatives")


class InfoNCEOptions(BaselineOptions):
    """Options of the InfoNCE baseline."""

    temperature: float = Field(0.05, gt=0.0, description="temperature of the softmax, in units of the score")


class RobustCrossEntropyOptions(InfoNCEOptions):
    """Options of the robust cross entropy baseline."""

    floor: float = Field(
        1e-7, gt=0.0, lt=1.0, description="replaces 0 inside the logarithm of the reverse term"
    )


class Baseline(Method):
    """One loss for each given pair."""

    config: BaselineOptions

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """Score the batch and reduce its pair losses."""
        batch = batches["all"]
        scores = self.matcher(batch.images, batch.texts)
        losses = self.pair_losses(scores, batch.same_image if self.config.mask_same_image else None)
        loss = losses.sum() if self.config.reduction == "sum" else losses.mean()
        return StepResult(loss, {"pair_loss": losses.detach().mean()})

    @abstractmethod
    def pair_losses(self, scores: Tensor, same_image: Tensor | None) -> Tensor:
        """(B,) losses from (B, B) scores."""


class Hinge(Baseline):
    """Triplet hinge with all negatives at first, then the hardest of the batch.

    Departure: captions of the same image are not used as negatives unless ``mask_same_image`` is false.

    References:
        Faghri et al., VSE++, BMVC 2018.
    """

    Config: ClassVar[type[Options]] = HingeOptions
    config: HingeOptions

    def pair_losses(self, scores: Tensor, same_image: Tensor | None) -> Tensor:
        """(B,) hinge of each pair."""
        hardest = self.config.negatives == "hardest" and self.epoch >= self.config.switch_epoch
        return hinge_loss(scores, self.config.margin, hardest, same_image)


class InfoNCE(Baseline):
    """Symmetric cross entropy of the pair among the batch.

    References:
        van den Oord et al., 2018; Radford et al., CLIP, 2021.
    """

    Config: ClassVar[type[Options]] = InfoNCEOptions
    config: InfoNCEOptions

    def pair_losses(self, scores: Tensor, same_image: Tensor | None) -> Tensor:
        """(B,) cross entropy of each pair."""
        return infonce_loss(scores, self.config.temperature, same_image)


class RobustCrossEntropy(Baseline):
    """Cross entropy plus reverse cross entropy, the warm-up loss of L2RM.

    References:
        Han et al., L2RM, CVPR 2024.
    """

    Config: ClassVar[type[Options]] = RobustCrossEntropyOptions
    config: RobustCrossEntropyOptions

    def pair_losses(self, scores: Tensor, same_image: Tensor | None) -> Tensor:
        """(B,) robust cross entropy of each pair."""
        return robust_cross_entropy_loss(scores, self.config.temperature, same_image, self.config.floor)
