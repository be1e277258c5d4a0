"""What NCR and BiCro share: a margin of each pair that follows the belief in it."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import Field
from torch import Tensor

from robustcmr.losses.hinge import hinge_loss, soft_margin
from robustcmr.methods.hinge_peers import HingePeerMethod, HingePeerOptions
from robustcmr.types import PairBatch


class SoftMarginOptions(HingePeerOptions):
    """Options of both methods; epochs count from 0."""

    noisy_epoch: int = Field(6, ge=0, description="epoch from which suspected pairs are learned from")


class SoftMarginMethod(HingePeerMethod):
    """Two matchers that learn with a margin a pair; a subclass gives the beliefs."""

    config: SoftMarginOptions

    @abstractmethod
    def belief(self, own: int, group: str, batch: PairBatch) -> Tensor:
        """(B,) belief in 0..1 in each pair of a batch that matcher ``own`` learns from, without gradient."""

    def warmup_loss(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """Scalar sum of mean hinges."""
        return self.mean_hinge(scores, batch).sum()

    def first_epoch(self, group: str) -> int:
        """Suspected pairs join later."""
        return self.config.noisy_epoch if group == "noisy" else 0

    def learn(self, own: int, group: str, batch: PairBatch) -> dict[str, Tensor]:
        """Scalar sum of the hinges, by the margins of the beliefs."""
        scores = self.matchers[own](batch.images, batch.texts).float()
        margins = soft_margin(self.config.margin, self.belief(own, group, batch))
        return {f"{group}_loss": self.hinges(scores, margins, self.not_negatives(batch))}

    def mean_hinge(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """(B,) hinge against all negatives, divided by B as in the papers; 0 for a pair without any."""
        negatives = self.not_negatives(batch)
        return hinge_loss(scores.float(), self.config.margin, False, negatives) / len(batch)
