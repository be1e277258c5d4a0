"""NIRNL: labels of nearest neighbours divide pairs into pure, hard and noisy ones, and correct the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robustcmr.correction.class_centres import either_probability
from robustcmr.losses.class_anchors import anchor_cross_entropy, anchor_probabilities
from robustcmr.losses.class_labels import absolute_error
from robustcmr.losses.hinge import hinge_loss
from robustcmr.methods.base import Scorer
from robustcmr.methods.label_baselines import LabelCrossEntropyOptions
from robustcmr.methods.labels import ClassCentres, LabelMethod
from robustcmr.methods.step_results import added, joined
from robustcmr.options import Options
from robustcmr.selection.neighbours import neighbour_labels
from robustcmr.types import EpochPlan, PairBatch, StepResult

_SETS = {"pure": 2, "hard": 1, "noisy": 0}
"""Modalities whose neighbours agree with the label, by group."""


class NirnlOptions(LabelCrossEntropyOptions):
    """Options of NIRNL."""

    temperature: float = Field(
        0.1, gt=0.0, description="temperature of class probabilities, in units of the cosine"
    )
    neighbours: int = Field(10, ge=1, description="nearest neighbours of an image or text in its modality")
    alpha: float = Field(0.9, ge=0.0, description="weight of the margin between pairs")
    margin: float = Field(0.9, gt=0.0, description="required distance to other pairs, in units of the cosine")
    released: bool = Field(
        False,
        description="pseudo labels from current predictions, as in the released code; false: neighbours",
    )


class Nirnl(LabelMethod):
    """Neighbour-aware instance refinement: each pair learns as far as its neighbours confirm its label.

    Before each epoch the classes' centres are set to the means of all vectors by given label, and the labels
    of the nearest neighbours inside each modality divide the pairs. With p the softmax of cosines with
    the centres over the temperature, image and text together learn

    - pure (both modalities agree with the label): the cross entropy of the label;
    - hard (one does): the same, weighted by 1 - (1 - p_v) (1 - p_t) of the label, without its gradient;
    - noisy (none does): the absolute error to a pseudo label, the neighbours' most frequent label;

    and all keep other pairs at a margin. From the released code: K = 10, margin 0.9, alpha 0.9 (Wikipedia;
    0.5 on other sets), no warm-up; the released "barycentre" with one support point is the plain mean. With
    ``released`` the pseudo label is the arg-max of 1 - (1 - p_v) (1 - p_t) by the current matcher.

    Departures: vectors have length 1, so that the paper's softmax without a temperature (its vectors are not
    normalised) would be flat, at most 0.23 for ten classes; ours has a temperature. The paper's
    three passes are one step of three batches, weighted by the sizes of the groups. The margin is the mean
    over B^2 cells without the constant diagonal. Where several labels are most frequent, each agrees. Image
    and text may have a label each. Learning rate, batch and epochs are the run's (paper: Adam 1e-4, batches
    of 256, 100 epochs).

    References:
        NIRNL, AAAI 2026, by its released code; Ghosh et al., AAAI 2017, for the absolute error.
    """

    Config: ClassVar[type[Options]] = NirnlOptions
    config: NirnlOptions
    anchors: ClassCentres
    columns: ClassVar[Mapping[str, float]] = {"agreeing": 2.0, "pseudo": 0.0}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.anchors = ClassCentres(self.n_classes, self.anchors.weight.shape[1])

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """Set the centres, and divide the pairs by the labels of their neighbours."""
        self.epoch = epoch
        found = scorer.vectors(self.matcher)
        images, texts = F.normalize(found.images, dim=1), F.normalize(found.texts, dim=1)
        self.anchors.update(images, texts, found.labels)
        near = neighbour_labels(images, texts, found.labels, self.n_classes, self.config.neighbours)
        self.state["agreeing"], self.state["pseudo"] = near.agreeing, near.pseudo_labels
        agreeing = self.state["agreeing"].numpy()
        groups = {name: np.flatnonzero(agreeing == count) for name, count in _SETS.items()}
        shares = {f"{name}_share": len(chosen) / self.n_pairs for name, chosen in groups.items()}
        return EpochPlan(groups, shares, self.estimated(found))

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """Add up the losses of the groups' batches, each by its group's share of all pairs."""
        return joined([added(self.losses(group, batch)) for group, batch in batches.items()])

    def losses(self, group: str, batch: PairBatch) -> dict[str, Tensor]:
        """Scalar losses by name of a batch of the group ``pure``, ``hard`` or ``noisy``."""
        config, centres = self.config, self.anchors()
        sides = self.encode(batch)
        p_v, p_t = (anchor_probabilities(side, centres, config.temperature) for side in sides)
        if group == "noisy":
            predicted = either_probability(p_v, p_t).argmax(1)
            wanted = predicted if config.released else self.state.of("pseudo", batch).long()
            target = F.one_hot(wanted, self.n_classes).to(p_v)
            by_class = absolute_error(p_v, target) + absolute_error(p_t, target)  # (B,)
        else:
            of_images, of_texts = self.given_targets(batch, p_v)
            by_class = anchor_cross_entropy(sides[0], centres, of_images, config.temperature)
            by_class = by_class + anchor_cross_entropy(sides[1], centres, of_texts, config.temperature)
            if group == "hard":
                likely = either_probability((p_v * of_images).sum(1), (p_t * of_texts).sum(1))
                by_class = likely.detach() * by_class
        scores = sides[0] @ sides[1].T  # (B, B)
        apart = hinge_loss(scores, config.margin, False, self.not_negatives(batch))
        share = (self.state["agreeing"] == _SETS[group]).float().mean().to(scores)
        return {
            f"{group}_loss": share * by_class.mean(),
            "margin_loss": share * config.alpha * apart.mean() / len(batch),
        }
