"""RDE: two views of one matcher divide the pairs together, and learn by the triplet alignment loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from robustcmr.losses.cross_entropy import infonce_loss
from robustcmr.losses.triplet_alignment import triplet_alignment_loss
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method, Scorer
from robustcmr.methods.peers import mean_division
from robustcmr.methods.step_results import added, division_metrics
from robustcmr.methods.views import SecondView, TwoViews
from robustcmr.options import Options
from robustcmr.selection.consensus import consensus_labels
from robustcmr.selection.divide import divide_by_mixture
from robustcmr.selection.released import gaussian_as_released
from robustcmr.types import Division, EpochPlan, PairBatch, StepResult


class RDEOptions(Options):
    """Options of RDE; epochs count from 0, margin and temperature are in units of the score."""

    warmup_epochs: int = Field(3, ge=0, description="epochs of InfoNCE on all given pairs; 0 for CLIP")
    margin: float = Field(0.1, gt=0.0, description="margin of the triplet alignment loss")
    temperature: float = Field(0.015, gt=0.0, description="tau of the smooth maximum over the negatives")
    threshold: float = Field(
        0.5, gt=0.0, lt=1.0, description="a pair is clean if its probability exceeds this"
    )
    disagreement: Literal["coin", "drop"] = Field(
        "coin", description="pairs that one view calls clean: toss a coin each epoch, or drop them"
    )
    view_dim: int = Field(256, ge=1, description="width of the common space of the second view")
    released: bool = Field(False, description="follow the released code where it differs; see the method")


class RDE(Method):
    """Robust dual embedding with any matcher: consensus of two views of one network.

    The first view is the matcher's score; the second, the cosine of item vectors (pooled, or the mean of the
    fragments) after a linear map plus a small network a modality. Every epoch a Gaussian mixture of the loss
    of each view divides the pairs. Clean for both: label 1; for none: 0; for one: a coin, tossed anew. A step
    minimises the sum of both views' losses over pairs of label 1; the others remain as negatives. Evaluation
    uses the matcher's score alone, where the paper takes the mean, so the second view is free after training.

    Paper: CLIP ViT-B/16, views of global and of selected tokens in 1024 numbers, no warm-up, 60 epochs, Adam
    1e-5 (new modules 1e-3), batch 64. A matcher that starts from nothing divides by chance and learns from
    ever fewer pairs, so InfoNCE at 0.05, as in CLIP's own pretraining, comes first. ``released`` joins pairs
    of one image as positives (there, of one identity) and divides by the released mixture; otherwise a pair's
    positive is itself, as one wrong caption would count for all pairs of its image.

    Not repeated: the mixture's settings do not depend on the injected noise rate; scoring does not leave the
    network in evaluation mode for the steps that follow.

    References:
        Qin et al., Noisy-Correspondence Learning for Text-to-Image Person Re-identification, CVPR 2024.
    """

    Config: ClassVar[type[Options]] = RDEOptions
    config: RDEOptions
    columns: ClassVar[Mapping[str, float]] = {"label": 1.0}
    takes_width: ClassVar[bool] = True

    def __init__(self, config: RDEOptions, matchers: Sequence[Matcher], *sizes: int, width: int) -> None:
        super().__init__(config, matchers, *sizes)
        self.second_view = SecondView(width, config.view_dim)
        self.views = TwoViews(self.matcher, self.second_view)

    @property
    def auxiliary(self) -> Mapping[str, nn.Module]:
        """The second view."""
        return {"second_view": self.second_view}

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """All pairs in one group; after the warm-up, they are divided and labelled by consensus."""
        plan = super().plan_epoch(epoch, scorer)
        if epoch < self.config.warmup_epochs:
            return plan
        first, second = self._divisions(scorer)
        labels = consensus_labels(first, second, self.config.disagreement)
        self.state["label"] = torch.from_numpy(labels)
        both = mean_division([first, second], self.config.threshold)
        disputed = float((first.is_clean != second.is_clean).mean())
        metrics = division_metrics(both) | {"disputed": disputed, "labelled_clean": float(labels.mean())}
        return EpochPlan(plan.groups, metrics, both)

    def estimate(self, scorer: Scorer) -> Division:
        """The mean of both views' divisions."""
        return mean_division(self._divisions(scorer), self.config.threshold)

    def _divisions(self, scorer: Scorer) -> list[Division]:
        found = scorer(lambda views, b: torch.stack([self._losses(s, b) for s in views], 1), self.views)
        threshold = self.config.threshold
        if self.config.released:
            return [gaussian_as_released(evidence, threshold) for evidence in found.T]
        return [divide_by_mixture(evidence, "gaussian", threshold, always=True) for evidence in found.T]

    def _losses(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """(B,) triplet alignment loss of a view (B, B)."""
        config = self.config
        return triplet_alignment_loss(
            scores, config.margin, config.temperature, batch.same_image, joined=config.released
        )

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """The warm-up loss of both views, or the sum of their losses of pairs of label 1."""
        batch, config = batches["all"], self.config
        first, second = self.views(batch.images, batch.texts)
        if self.epoch < config.warmup_epochs:
            both = [infonce_loss(s, same_image=batch.same_image) for s in (first, second)]
            return added({"warmup_loss": torch.stack(both).mean(1).sum()})
        label = self.state.of("label", batch).to(first.device)
        losses = [(label * self._losses(view, batch)).sum() for view in (first, second)]
        return added({"first_loss": losses[0], "second_loss": losses[1]})
