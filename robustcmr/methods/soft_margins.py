"""What NCR and BiCro share: co-training with a hinge whose margin follows the belief in each pair."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import Field
from torch import Tensor

from robustcmr.losses.hinge import hinge_loss, soft_margin
from robustcmr.methods.peers import PeerMethod, PeerOptions
from robustcmr.selection.evidence import batch_hinge
from robustcmr.types import PairBatch


class SoftMarginOptions(PeerOptions):
    """Options of both methods; epochs count from 0."""

    margin: float = Field(
        0.2, gt=0.0, description="margin of a pair believed to be right, in units of the score"
    )
    noisy_epoch: int = Field(6, ge=0, description="epoch from which suspected pairs are learned from")
    switch_epoch: int = Field(12, ge=0, description="epochs (from 0) before it use all negatives")


class SoftMarginMethod(PeerMethod):
    """Two matchers that learn with a margin a pair; a subclass gives the beliefs.

    The papers take the hardest negatives right after a warm-up of some thousand steps. A default run has 700
    steps in all, and the scores collapse whenever it takes them, even at the reduced rate of its last epochs
    (BiCro on the embedded data, 40% mismatched: dev rSum 208.6 before epoch 8, 73.9 at the end); hence
    ``switch_epoch``, the length of that run.
    """

    config: SoftMarginOptions

    @abstractmethod
    def belief(self, own: int, group: str, batch: PairBatch) -> Tensor:
        """(B,) belief in 0..1 in each pair of a batch that matcher ``own`` learns from, without gradient."""

    def evidence(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """(B,) mean hinge."""
        return batch_hinge(scores, self.config.margin, self.not_negatives(batch))

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
        negatives = self.not_negatives(batch)
        if self.epoch < self.config.switch_epoch:
            return {f"{group}_loss": hinge_loss(scores, margins, False, negatives).sum() / len(batch)}
        return {f"{group}_loss": hinge_loss(scores, margins, True, negatives).sum()}

    def mean_hinge(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """(B,) hinge against all negatives, divided by B as in the papers; 0 for a pair without any."""
        negatives = self.not_negatives(batch)
        return hinge_loss(scores.float(), self.config.margin, False, negatives) / len(batch)
