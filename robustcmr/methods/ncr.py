"""NCR: two matchers divide the pairs for each other and learn with a margin that follows the belief."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robustcmr.correction.soft_labels import batch_relative_prediction
from robustcmr.methods.peers import steady_scores
from robustcmr.methods.soft_margins import SoftMarginMethod, SoftMarginOptions
from robustcmr.options import Options
from robustcmr.types import PairBatch


class NCROptions(SoftMarginOptions):
    """Options of NCR; epochs count from 0."""


class NCR(SoftMarginMethod):
    """Noisy correspondence rectifier: a pair's margin shrinks with the belief that it is mismatched.

    1. Warm-up: the hinge against all negatives, averaged over the batch, of all pairs.
    2. Each epoch, a Gaussian mixture of each matcher's mean hinge divides the pairs for its peer.
    3. Belief of a clean pair: p + (1 - p) times the matcher's own prediction, p the peer's probability.
       Belief of a suspected pair, from ``noisy_epoch`` on: the mean of both matchers' predictions. A
       prediction is relative to the best tenth of the batch (``batch_relative_prediction``).
    4. The hinge with the margin of the belief (``soft_margin``), summed, against the hardest negatives from
       ``switch_epoch`` on.

    Departures: all batches make one step, where the released code takes one step each, and all negatives
    count for longer. Captions of the same image are not used as negatives and the mixture is ours, unless
    ``released`` is true. Not repeated from the released code: its margins lie on the wrong pair in one
    direction, and on clean pairs mix those of different pairs. Scores are cosines, not the sigmoids of the
    paper's matcher.

    Schedule of the paper: warm-up of 5 epochs (10 on MS-COCO and CC152K), then 40 (20 on MS-COCO), with
    suspected pairs in their second half and the hardest negatives throughout; batches of 128, Adam at 2e-4,
    a tenth of it after 30 (10).

    References:
        Huang et al., Learning with Noisy Correspondence for Cross-modal Matching, NeurIPS 2021.
    """

    Config: ClassVar[type[Options]] = NCROptions
    config: NCROptions

    def belief(self, own: int, group: str, batch: PairBatch) -> Tensor:
        """(B,) belief in 0..1 in each pair."""
        predicted = self.prediction(own, batch)
        if group == "noisy":
            return 0.5 * (predicted + self.prediction(1 - own, batch))
        clean = self.peer_probability(own, batch)
        return clean + (1 - clean) * predicted

    def prediction(self, own: int, batch: PairBatch) -> Tensor:
        """(B,) prediction of a matcher in evaluation mode, in 0..1."""
        steady = steady_scores(self.matchers[own], batch)
        return batch_relative_prediction(self.mean_hinge(steady, batch), self.config.margin)
