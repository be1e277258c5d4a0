"""OSA: pairs are weighted once, by how far a frozen estimator scores them above random pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from robustcmr.losses.cross_entropy import infonce_loss
from robustcmr.methods.base import Method, Scorer
from robustcmr.methods.step_results import added, division_metrics
from robustcmr.options import Options
from robustcmr.selection.random_level import given_and_random_scores, random_level_weights
from robustcmr.types import Division, EpochPlan, FloatArray, PairBatch, StepResult


class OSAOptions(Options):
    """Options of OSA; epochs count from 0."""

    warmup_epochs: int = Field(
        6, ge=0, description="epochs on all given pairs before the estimator is frozen; 0 for pretrained ones"
    )
    temperature: float = Field(
        0.05, gt=0.0, description="temperature of the softmax, in units of the score; 0.01 suits CLIP"
    )
    relative: bool = Field(
        True, description="divide scores above random by the largest of the batch, as the released code does"
    )
    released: bool = Field(False, description="follow the released code where it differs; see the method")


class OSA(Method):
    """One-step anti-noise: a weighted InfoNCE loss whose weights come from one pass of a frozen estimator.

    The estimator is the matcher as it is when the warm-up ends; without a warm-up, the starting weights, such
    as CLIP's. Frozen too early, it weighs the pairs badly for the rest of the run. The random level beta is
    its mean score of mismatched pairs. With x = max(0, s - beta) a pair has the weight x^2 (1 - x^2). As
    weights never change, they are found in one pass and remembered by pair; no copy of the network is kept
    and no step scores twice.

    Paper: the estimator is CLIP, and beta the mean score of images of random noise with random words.
    Features of regions have no such noise, so mismatched pairs of the training batches stand in. AdamW 1e-5,
    batch 256, 5 epochs without warm-up at CLIP's temperature, 0.01. As in the paper, the loss is a mean over
    all pairs, not divided by the sum of the weights.

    By default x is divided by the largest of the batch, as in the released code: the best pair of each batch
    then has no weight, but the peak is where good pairs are. In the paper (``relative: false``) x is
    absolute, so that the few pairs of the highest scores outweigh all others; after a warm-up from nothing
    this loses recall. ``released`` also uses captions of the same image as negatives.

    References:
        Li et al., One-step Noisy Label Mitigation, arXiv 2410.01944, 2024 (later version: Debiased Orthogonal
        Boundary-Driven Efficient Noise Mitigation).
    """

    Config: ClassVar[type[Options]] = OSAOptions
    config: OSAOptions
    columns: ClassVar[Mapping[str, float]] = {"above": 0.0}

    frozen: bool = False

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """All pairs in one group; when the warm-up ends, they are weighted once and for all."""
        plan = super().plan_epoch(epoch, scorer)
        if epoch < self.config.warmup_epochs:
            return plan
        if not self.frozen:
            self.state["above"], self.frozen = self._above(scorer), True
        division = self.estimate(scorer)
        return EpochPlan(plan.groups, division_metrics(division), division)

    def estimate(self, scorer: Scorer) -> Division:
        """Call pairs clean that the estimator, or the matcher while there is none, scores above random."""
        above = self.state["above"].numpy() if self.frozen else self._above(scorer)
        clean = above > 0
        reason = "divided by the mean score of mismatched pairs, without a test for two groups"
        evidence = -above.astype(np.float64)
        return Division(clean.astype(np.float64), 0.5, clean, evidence, True, reason, None, None)

    def _above(self, scorer: Scorer) -> FloatArray:
        """(N,) scores above the random level."""
        given, random = scorer(lambda s, b: given_and_random_scores(s, b.same_image), self.matcher).T
        level = 0.0 if np.isnan(random).all() else float(np.nanmean(random))
        return np.asarray(given - np.float32(level))

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """The InfoNCE loss of all pairs, weighted once the estimator is frozen."""
        batch, config = batches["all"], self.config
        scores = self.matcher(batch.images, batch.texts)
        losses = infonce_loss(scores, config.temperature, self.not_negatives(batch))
        if not self.frozen:
            return added({"warmup_loss": losses.mean()})
        above = self.state.of("above", batch).to(losses.device)
        weights = random_level_weights(above, relative=config.relative or config.released)
        return added({"pair_loss": (weights * losses).mean()}, more={"weight": weights.mean()})

    def state_dict(self) -> dict[str, Any]:
        """Epoch and frozen scores."""
        return {**super().state_dict(), "frozen": self.frozen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self.frozen = bool(state["frozen"])
