"""CREAM: the more doubtful a pair, the softer its target; two matchers agree or disagree on pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from robustcmr.correction.spreading import spread_targets
from robustcmr.losses.cross_entropy import infonce_loss, match_probability
from robustcmr.losses.matching import soft_cross_entropy_loss
from robustcmr.methods.base import Scorer
from robustcmr.methods.peers import PeerMethod, PeerOptions, steady_scores
from robustcmr.options import Options
from robustcmr.selection.agreement import agreement_sets
from robustcmr.types import Division, PairBatch

_NEARLY_CLEAN = 0.85  # above this share of clean pairs, no part of their targets is dropped


class CreamOptions(PeerOptions):
    """Options of CREAM; epochs count from 0 and are scaled to a run of 12."""

    temperature: float = Field(0.07, gt=0.0, description="tau of every softmax, in units of the score")
    hard_epoch: int = Field(3, ge=0, description="first epoch of pairs that only one matcher calls clean")
    noisy_epoch: int = Field(5, ge=0, description="first epoch of pairs that both matchers call noisy")
    mining: bool = Field(True, description="keep only the large parts of targets on other pairs")


class Cream(PeerMethod):
    """Two matchers learn from soft targets, with m the match probability of a pair in its batch.

    1. Warm-up: cross entropy of all pairs, both directions added.
    2. Each epoch, a normal mixture of that loss gives each matcher's clean probabilities. Pairs that both
       call clean are ``clean``, those that one does ``hard``, the rest ``noisy``.
    3. The confidence in a pair is p + (1 - p) m, with p the peer's probability (clean) or the mean of both
       (hard) and m the own matcher's; of noisy pairs it is the mean m of both matchers. A target holds the
       confidence on the pair and the rest on others by their score, m and scores as in evaluation. Mining
       drops parts on others below the mean confidence, of all pairs as last seen; unless over 85% of pairs
       are clean that is nearly every part, which leaves cross entropy weighted by confidence.

    ``released: true`` takes the released mixture, and captions of the same image as negatives. Not repeated:
    restarting both matchers unless a warm-up epoch improves all six recalls on development data. Released
    scores are sigmoids; here a cosine below 0 gets no part of a target. The paper's schedule: 5 epochs of
    warm-up, then 40 (MS-COCO 20), hard pairs from 10, noisy ones from 15.

    References:
        Ma et al., Cross-modal Retrieval with Noisy Correspondence via Consistency Refining and Mining,
        IEEE TIP 2024.
    """

    Config: ClassVar[type[Options]] = CreamOptions
    config: CreamOptions
    columns: ClassVar[Mapping[str, float]] = {
        **PeerMethod.columns,
        "confidence_0": 1.0,
        "confidence_1": 1.0,
        "calls": 2.0,  # matchers that call the pair clean
    }

    def evidence(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """(B,) cross entropy of each pair."""
        return 2 * infonce_loss(scores.float(), self.config.temperature, self.not_negatives(batch))

    def warmup_loss(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """Mean cross entropy of all pairs."""
        return self.evidence(scores, batch).mean()

    def first_epoch(self, group: str) -> int:
        """Clean pairs from the start, hard and noisy ones later."""
        return {"hard": self.config.hard_epoch, "noisy": self.config.noisy_epoch}.get(group, 0)

    def _divisions(self, scorer: Scorer) -> list[Division]:
        divisions = super()._divisions(scorer)
        self._sets = agreement_sets(*(division.is_clean for division in divisions))
        return divisions

    def groups(self, division: Division) -> dict[str, npt.NDArray[np.bool_]]:  # noqa: ARG002
        """(N,) members of clean, hard and noisy pairs, the same for both matchers."""
        self.state["calls"] = np.float32(2) * self._sets["clean"] + self._sets["hard"]
        return self._sets

    def learn(self, own: int, group: str, batch: PairBatch) -> dict[str, Tensor]:
        """Mean cross entropy to soft targets, both directions added."""
        steady, same = steady_scores(self.matchers[own], batch), self.not_negatives(batch)
        confidence = self._confidence(own, group, batch, steady)
        targets = spread_targets(steady, confidence, same, self._least(own, group, batch, confidence))
        allowed = None if same is None else ~same | torch.eye(len(same), dtype=torch.bool, device=same.device)
        scores = self.matchers[own](batch.images, batch.texts)
        rows, columns = soft_cross_entropy_loss(scores, *targets, self.config.temperature, allowed)
        return {f"{group}_loss": (rows + columns).mean()}

    def _confidence(self, own: int, group: str, batch: PairBatch, steady: Tensor) -> Tensor:
        """(B,) confidence in each pair."""
        m, p = self._match(steady, batch), self.peer_probability(own, batch)
        if group == "noisy":
            return (m + self._match(steady_scores(self.matchers[1 - own], batch), batch)) / 2
        if group == "hard":
            p = (p + self.peer_probability(1 - own, batch)) / 2
        return p + (1 - p) * m

    def _least(self, own: int, group: str, batch: PairBatch, confidence: Tensor) -> float:
        """Smallest part of a target that is kept on another pair."""
        if not self.config.mining:
            return 0.0
        self.state.put(f"confidence_{own}", batch, confidence)
        if group != "noisy" and float((self.state["calls"] == 2).float().mean()) > _NEARLY_CLEAN:
            return 0.0
        early = group == "clean" and self.epoch < self.config.hard_epoch  # no parts at all
        return 1.0 if early else float(self.state[f"confidence_{own}"].mean())

    def _match(self, scores: Tensor, batch: PairBatch) -> Tensor:
        return match_probability(scores, self.config.temperature, self.not_negatives(batch))
