"""What NCR, BiCro and IN2R share: co-training with hinges that take the hardest negatives late."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from robustcmr.losses.hinge import hinge_loss
from robustcmr.methods.peers import PeerMethod, PeerOptions
from robustcmr.selection.evidence import batch_hinge
from robustcmr.types import PairBatch


class HingePeerOptions(PeerOptions):
    """Options of these methods; epochs count from 0."""

    margin: float = Field(
        0.2, gt=0.0, description="margin of a pair believed to be right, in units of the score"
    )
    switch_epoch: int = Field(12, ge=0, description="epochs (from 0) before it use all negatives")


class HingePeerMethod(PeerMethod):
    """Two matchers that divide the pairs by their mean hinge and learn by hinges.

    The papers take the hardest negatives right after a warm-up of some thousand steps. A default run has 700
    steps in all, and the scores collapse whenever it takes them, even at the reduced rate of its last epochs
    (BiCro on the embedded data, 40% mismatched: dev rSum 208.6 before epoch 8, 73.9 at the end); hence
    ``switch_epoch``, the length of that run.
    """

    config: HingePeerOptions

    def evidence(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """(B,) mean hinge."""
        return batch_hinge(scores, self.config.margin, self.not_negatives(batch))

    def hinges(self, scores: Tensor, margin: float | Tensor, negatives: Tensor | None) -> Tensor:
        """Scalar sum of the hinges of a batch.

        Args:
            scores: (B, B) float.
            margin: number, or (B,).
            negatives: (B, B) bool, cells that are no negatives.

        Returns:
            Each pair's hinge against its hardest negatives, or before ``switch_epoch`` against all of them,
            divided by B.
        """
        if self.epoch < self.config.switch_epoch:
            return hinge_loss(scores, margin, False, negatives).sum() / len(scores)
        return hinge_loss(scores, margin, True, negatives).sum()
