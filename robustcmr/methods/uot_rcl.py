"""After UOT-RCL: correct wrong classes by partial transport, and align pairs of one class in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from robustcmr.correction.class_evidence import class_evidence
from robustcmr.correction.label_transport import LabelTargets, label_targets, relation_plan
from robustcmr.losses.class_anchors import anchor_probabilities
from robustcmr.losses.matching import soft_cross_entropy_loss
from robustcmr.methods.base import Scorer
from robustcmr.methods.label_baselines import AnchorMethod, MRLOptions, mrl_losses
from robustcmr.methods.labels import label_estimate
from robustcmr.options import Options
from robustcmr.selection.label_transitions import estimate_transitions
from robustcmr.types import EpochPlan, LabelEstimate, LabelledVectors, PairBatch

_MOVED = 1e-3
"""A sample with less moved mass keeps its previous target."""


class UotRclOptions(MRLOptions):
    """Choices that the abstract leaves open; lengths in epochs, temperatures in units of the cosine."""

    semantic: bool = Field(True, description="semantic alignment: correct classes by partial transport")
    relation: bool = Field(True, description="relation alignment: match all pairs of one class in a batch")
    # the losses of MRL, alone during the warm-up
    warmup_epochs: int = Field(
        10, ge=1, description="epochs on the given classes before the first correction"
    )
    contrast_temperature: float = Field(0.8, gt=0.0, description="temperature of the contrast between pairs")
    # estimated classes
    posterior_temperature: float = Field(
        0.1, gt=0.0, description="temperature of the class probabilities used for correction"
    )
    neighbours: int = Field(60, ge=1, description="nearest neighbours of an image or text")
    neighbour_share: float = Field(
        0.8, ge=0.0, le=1.0, description="weight of the neighbours within a modality"
    )
    neighbour_temperature: float = Field(0.1, gt=0.0, description="temperature of the neighbours' weights")
    trust: bool = Field(
        True, description="weight a modality by its agreement with the other's neighbours; false: equally"
    )
    transitions: Literal["classes", "common", "none"] = Field(
        "classes",
        description="weigh given labels by estimated rates of each class, by one common rate, or not at all",
    )
    pseudo_counts: float = Field(
        200.0, gt=0.0, description="weight of the common rate, in labels of each class (classes)"
    )
    # transport of samples to classes
    prior: Literal["given", "estimated", "uniform"] = Field(
        "given", description="largest share of a class: that of given labels, of estimates, or uniform"
    )
    epsilon: float = Field(
        0.1, gt=0.0, description="smoothing of that transport, in units of the largest cost"
    )
    mass_start: float = Field(0.3, gt=0.0, le=1.0, description="share of the samples moved at first")
    mass_end: float = Field(0.95, gt=0.0, le=1.0, description="share of the samples moved at the end")
    mass_epochs: int = Field(10, ge=1, description="epochs over which the share grows")
    momentum: float = Field(0.9, ge=0.0, lt=1.0, description="decay of the running mean of targets")
    # relation alignment
    relation_weight: float = Field(0.1, ge=0.0, description="weight of the relation alignment")
    relation_temperature: float = Field(0.3, gt=0.0, description="temperature of the softmax over the batch")
    relation_epsilon: float = Field(
        0.1, gt=0.0, description="smoothing of the plan in the batch, in units of the agreement"
    )
    relation_cost: Literal["classes", "both"] = Field(
        "classes", description="cost of the plan: classes alone, or their mean with the cosines (both)"
    )

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.mass_start > self.mass_end:
            raise ValueError(
                f"mass_start is {self.mass_start:g} and mass_end {self.mass_end:g}, expected mass_end to be "
                "no smaller; raise mass_end or lower mass_start"
            )
        return self


class UotRcl(AnchorMethod):
    """Semantic and relation alignment, each switchable, on the losses of MRL.

    After a warm-up on the given classes, each epoch

    - estimates class probabilities from anchors and from image and text neighbours, trusting a modality more
      where the other's neighbours agree with it;
    - estimates from them the rates at which labels are wrong, and weighs each given label by these rates;
    - (semantic) moves a growing share of the samples to classes by partial transport; the running mean of the
      plans is their class distribution, and samples not moved learn without classes.

    In each step (relation), the softmax of the batch's scores is trained towards a balanced plan between
    images and texts whose classes agree.

    Only the paper's abstract is public, so all other choices are ours: estimated label rates, trust by
    agreement, mass schedule, running mean and losses.

    References:
        After UOT-RCL, by its abstract, IEEE Transactions on Neural Networks and Learning Systems, 2025; Hu et
        al., "Learning Cross-Modal Retrieval with Noisy Labels", CVPR 2021, for the losses.
    """

    Config: ClassVar[type[Options]] = UotRclOptions
    config: UotRclOptions

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.targets: Tensor | None = None  # (N, K) once something was corrected
        self.weights = torch.ones(self.n_pairs)  # (N,)

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """All pairs; after the warm-up, with new targets."""
        plan = super().plan_epoch(epoch, scorer)
        if epoch < self.config.warmup_epochs or not self.config.semantic:
            return plan
        found = scorer.vectors(self.matcher)
        mass = self.mass(epoch)
        moved, kept = self._correct(found, mass)
        new = moved.targets.float().cpu()
        if self.targets is not None:
            keep = self.config.momentum
            new = torch.where(
                moved.weights.cpu()[:, None] > _MOVED, keep * self.targets + (1 - keep) * new, self.targets
            )
        self.targets, self.weights = new, moved.weights.float().cpu()
        return EpochPlan(
            plan.groups,
            {"noise_rate": 1 - kept, "moved_mass": mass},
            label_estimate(moved.targets, found),
        )

    def mass(self, epoch: int) -> float:
        """Share of the samples moved in an epoch."""
        config = self.config
        passed = min(1.0, max(0, epoch - config.warmup_epochs) / config.mass_epochs)
        return config.mass_start + passed * (config.mass_end - config.mass_start)

    def estimate(self, scorer: Scorer) -> LabelEstimate:
        """The classes that the final share of the samples is moved to, with the current matcher."""
        if not self.config.semantic:
            return super().estimate(scorer)
        found = scorer.vectors(self.matcher)
        return label_estimate(self._correct(found, self.config.mass_end)[0].targets, found)

    def losses(
        self, images: Tensor, texts: Tensor, of_images: Tensor, of_texts: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """The losses of MRL and, after the warm-up, of the relation alignment."""
        config = self.config
        found = mrl_losses(images, texts, self.anchors(), of_images, of_texts, weights, config)
        if config.relation and self.epoch >= config.warmup_epochs:
            relation = self._relation_loss(images, texts, (of_images + of_texts) / 2)
            found["relation_loss"] = config.relation_weight * relation
        return found

    def class_targets(self, batch: PairBatch, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Corrected classes once there are some."""
        if self.targets is None:
            return super().class_targets(batch, like)
        ids = batch.pair_ids.cpu()
        targets = self.targets[ids].to(like)
        return targets, targets, self.weights[ids].to(like)

    def state_dict(self) -> dict[str, Any]:
        """Epoch, targets and weights."""
        return {**super().state_dict(), "targets": self.targets, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore epoch, targets and weights."""
        super().load_state_dict(state)
        self.targets, self.weights = state["targets"], state["weights"]

    def _relation_loss(self, images: Tensor, texts: Tensor, classes: Tensor) -> Tensor:
        """Scalar cross entropy of the batch's scores to the plan among its pairs, mean of both directions."""
        config = self.config
        scores = images @ texts.T  # (B, B)
        cosines = scores if config.relation_cost == "both" else None
        plan = relation_plan(classes, config.relation_epsilon, cosines)
        by_image, by_text = soft_cross_entropy_loss(scores, plan, plan.T, config.relation_temperature)
        return (by_image.mean() + by_text.mean()) / 2

    @torch.no_grad()
    def _correct(self, found: LabelledVectors, mass: float) -> tuple[LabelTargets, float]:
        """Move a share of the samples to classes; also return the estimated share of right labels."""
        config, anchors = self.config, self.anchors()
        images, texts = F.normalize(found.images, dim=1), F.normalize(found.texts, dim=1)
        evidence = class_evidence(
            images,
            texts,
            anchor_probabilities(images, anchors, config.posterior_temperature),
            anchor_probabilities(texts, anchors, config.posterior_temperature),
            config.neighbours,
            config.neighbour_share,
            config.neighbour_temperature,
            config.trust,
        )
        posterior, kept = evidence.probabilities.double(), []
        for given in found.labels.T:  # one column, or the images' and the texts'
            counts = config.pseudo_counts if config.transitions == "classes" else None
            rates = estimate_transitions(evidence.by_neighbours, given, counts)
            kept.append(rates.kept)
            if config.transitions != "none":
                posterior = posterior * rates.likelihood(given)
        posterior = posterior / posterior.sum(1, keepdim=True)
        moved = label_targets(posterior, self._prior(posterior, found.labels), mass, config.epsilon)
        return moved, float(np.mean(kept))

    def _prior(self, posterior: Tensor, labels: Tensor) -> Tensor:
        """(K,) largest share of each class, summing to 1."""
        if self.config.prior == "estimated":
            return posterior.mean(0)
        if self.config.prior == "uniform":
            return torch.full_like(posterior[0], 1 / self.n_classes)
        return torch.bincount(labels.flatten(), minlength=self.n_classes).double() / labels.numel()
