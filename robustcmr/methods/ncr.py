"""NCR: two matchers divide the pairs for each other and learn with a margin that follows the belief."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from robustcmr.correction.soft_labels import batch_relative_prediction
from robustcmr.losses.hinge import hinge_loss, soft_margin
from robustcmr.methods.peers import PeerMethod, PeerOptions, steady_scores
from robustcmr.options import Options
from robustcmr.selection.evidence import batch_hinge
from robustcmr.types import PairBatch


class NCROptions(PeerOptions):
    """Options of NCR; epochs count from 0."""

    margin: float = Field(
        0.2, gt=0.0, description="margin of a pair believed to be right, in units of the score"
    )
    noisy_epoch: int = Field(6, ge=0, description="epoch from which suspected pairs are learned from")


class NCR(PeerMethod):
    """Noisy correspondence rectifier: a pair's margin shrinks with the belief that it is mismatched.

    1. Warm-up: the hinge against all negatives, averaged over the batch, of all pairs.
    2. Each epoch, a Gaussian mixture of each matcher's mean hinge divides the pairs for its peer.
    3. Belief of a clean pair: p + (1 - p) times the matcher's own prediction, p the peer's probability.
       Belief of a suspected pair, from ``noisy_epoch`` on: the mean of both matchers' predictions. A
       prediction is relative to the best tenth of the batch (``batch_relative_prediction``).
    4. The hinge against the hardest negatives with the margin of the belief (``soft_margin``), summed.

    Departures: both batches of both matchers make one step, where the released code takes one step each.
    Captions of the same image are not used as negatives and the mixture is ours, unless ``released`` is true.
    Not repeated from the released code: its margins lie on the wrong pair in one direction, and on clean
    pairs mix those of different pairs. Scores are cosines, not the sigmoids of the paper's matcher.

    Schedule of the paper: warm-up of 5 epochs (10 on MS-COCO and CC152K), then 40 (20 on MS-COCO), with
    suspected pairs in their second half; batches of 128, Adam at 2e-4, a tenth of it after 30 (10).

    References:
        Huang et al., Learning with Noisy Correspondence for Cross-modal Matching, NeurIPS 2021.
    """

    Config: ClassVar[type[Options]] = NCROptions
    config: NCROptions

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
        """Scalar hinge by the margins of the beliefs."""
        scores = self.matchers[own](batch.images, batch.texts).float()
        margins = soft_margin(self.config.margin, self.belief(own, group, batch))
        losses = hinge_loss(scores, margins, hardest=True, same_image=self.not_negatives(batch))
        return {f"{group}_loss": losses.sum()}

    def belief(self, own: int, group: str, batch: PairBatch) -> Tensor:
        """(B,) belief in 0..1 that each pair is right, of a batch of matcher ``own``."""
        predicted = self.prediction(own, batch)
        if group == "noisy":
            return 0.5 * (predicted + self.prediction(1 - own, batch))
        clean = self.peer_probability(own, batch)
        return clean + (1 - clean) * predicted

    def prediction(self, own: int, batch: PairBatch) -> Tensor:
        """(B,) prediction of a matcher in evaluation mode."""
        steady = steady_scores(self.matchers[own], batch)
        return batch_relative_prediction(self.mean_hinge(steady, batch), self.config.margin)

    def mean_hinge(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """(B,) hinge against all negatives, divided by B as in the paper; 0 for a pair without any."""
        negatives = self.not_negatives(batch)
        return hinge_loss(scores.float(), self.config.margin, False, negatives) / len(batch)
