"""BiCro: the belief in a suspected pair is how alike its image and caption lie to pairs that are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robustcmr.correction.soft_labels import anchor_ratio, best_tenth
from robustcmr.matchers.base import Matcher
from robustcmr.methods.peers import steady_encoding
from robustcmr.methods.soft_margins import SoftMarginMethod, SoftMarginOptions
from robustcmr.options import Options
from robustcmr.selection.divide import divide_by_mixture
from robustcmr.selection.released import beta_as_released
from robustcmr.types import Division, FloatArray, PairBatch, StepResult


class BiCroOptions(SoftMarginOptions):
    """Options of BiCro; epochs count from 0."""

    warmup_share: float = Field(
        0.3, gt=0.0, le=1.0, description="share of a batch, of smallest hinge, that the warm-up learns from"
    )
    least_belief: float = Field(0.5, ge=0.0, le=1.0, description="a belief below this counts as 0")


class BiCro(SoftMarginMethod):
    """Bidirectional cross-modal similarity consistency: similar images should have similar captions.

    1. Warm-up: the mean hinge of the pairs of each batch for which it is smallest.
    2. Each epoch, a Beta mixture of each matcher's mean hinge divides the pairs for its peer.
    3. The best tenth of a clean batch, by the hinge of the peer, are anchors. The ratio g of a pair is how
       alike its image and caption lie to them in the peer's vectors (``anchor_ratio``). The belief of an
       anchor is 1, of another clean pair 1/2 + g/2, of a suspected pair, from ``noisy_epoch`` on, g; below
       ``least_belief`` it is 0.
    4. The hinge with the margin of the belief (``soft_margin``), summed, against the hardest negatives from
       ``switch_epoch`` on.

    Taken from the released code: the anchors are those of the batch, where the paper takes the surest of the
    mixture. Departures: all batches make one step, where the released code takes one step each, and all
    negatives count for longer. Captions of the same image are not used as negatives and the mixture is ours,
    unless ``released`` is true. Not repeated from the released code: its margins lie on the wrong pair in one
    direction, and ratios of cosines near 0 are left to chance. Scores are cosines, not the sigmoids of the
    paper's matcher. Without a clean batch there are no anchors, and the belief in suspected pairs is 0.

    Schedule of the paper: warm-up of 10 epochs, then 40, with suspected pairs in their second half and
    the hardest negatives throughout; batches of 128, Adam at 2e-4, a tenth of it after 30.

    References:
        Yang et al., BiCro: Noisy Correspondence Rectification for Multi-modality Data via Bi-directional
        Cross-modal Similarity Consistency, CVPR 2023.
    """

    Config: ClassVar[type[Options]] = BiCroOptions
    config: BiCroOptions

    def __init__(self, config: Any, matchers: Sequence[Matcher], n_pairs: int, batch_size: int) -> None:
        super().__init__(config, matchers, n_pairs, batch_size)
        self._anchors: dict[int, tuple[Tensor, Tensor]] = {}  # vectors by matcher, of the step under way

    def divided(self, evidence: FloatArray) -> Division:
        """Divide by a Beta mixture."""
        if self.config.released:
            return beta_as_released(evidence, self.config.threshold)
        return divide_by_mixture(evidence, "beta", self.config.threshold, always=True)

    def warmup_loss(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """Scalar sum of the smallest mean hinges."""
        kept = max(1, int(self.config.warmup_share * len(batch)))
        return self.mean_hinge(scores, batch).topk(kept, largest=False)[0].sum()

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """As every co-training method; clean batches come first, as the others need their anchors."""
        self._anchors = {}
        return super().training_step({name: batches[name] for name in sorted(batches)})

    def belief(self, own: int, group: str, batch: PairBatch) -> Tensor:
        """(B,) belief in 0..1 in each pair, by the peer; a clean batch gives the anchors of the step."""
        scores, images, texts = steady_encoding(self.matchers[1 - own], batch)
        if group == "clean":
            best = self.mean_hinge(scores, batch).topk(best_tenth(len(batch)), largest=False)[1]
            self._anchors[own] = images[best], texts[best]
            found = 0.5 + 0.5 * anchor_ratio(images, texts, *self._anchors[own])
            found[best] = 1.0
        elif own in self._anchors:
            found = anchor_ratio(images, texts, *self._anchors[own])
        else:
            found = scores.new_zeros(len(batch))
        return torch.where(found < self.config.least_belief, 0.0, found)
