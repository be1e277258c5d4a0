"""GSC: weigh pairs by two structures, of images with captions and within each modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robustcmr.correction.running import running_target
from robustcmr.losses.cross_entropy import infonce_loss, match_probability
from robustcmr.losses.topology import topology_loss
from robustcmr.matchers.base import evaluation_mode
from robustcmr.methods.base import Method, Scorer
from robustcmr.methods.step_results import added, division_metrics
from robustcmr.options import Options
from robustcmr.selection.divide import divide_by_mixture
from robustcmr.selection.released import gaussian_as_released
from robustcmr.selection.structure import row_agreement
from robustcmr.selection.threshold import divide_at
from robustcmr.types import Division, EpochPlan, PairBatch, StepResult

_REASON = "the smaller of two running means: match in the batch, and posterior of agreeing structures"
_COLUMNS = ("match", "agreement", "running_match", "running_agreement", "weight")


class GSCOptions(Options):
    """Options of GSC."""

    temperature: float = Field(0.07, gt=0.0, description="tau of the softmax, in units of the score")
    structure_weight: float = Field(0.01, ge=0.0, description="gamma, weight of the intra-modal loss")
    keep: float = Field(0.3, ge=0.0, lt=1.0, description="share of the running means kept in each epoch")
    threshold: float = Field(0.5, gt=0.0, lt=1.0, description="a pair is clean if its weight exceeds this")
    released: bool = Field(False, description="follow the released code where it differs; see the method")


class GSC(Method):
    """Geometrical structure consistency: a pair's weight is the least of two kinds of evidence for it.

    With match probability c_i = (p_ii + q_ii) / 2 in the batch, A the similarities among its images and B
    those among its captions, their columns multiplied by the weights w, the mean of

        w_i (-log p_ii - log q_ii) / 2 - gamma w_i log softmax_j((A B^T)_ij)_i

    is minimised. c_i and the cosine g_i of row i of A with row i of B are collected in the steps, without
    another pass. At the end of an epoch a mixture of two normal components turns g into a posterior of its
    upper one; both are smoothed, 0.7 new and 0.3 old from 1 on, and w_i is the smaller.

    A and B are scores of the matcher itself, as fragments of both sides have one width, and are clamped at 0:
    the released ones are sigmoids in 0..1. Within a modality cosines may all be high; g then tells little.
    The statistics of batch norms are left to scores of images with captions.

    ``released``: captions of one image are negatives, and the mixture is that of the released code. Not
    repeated from it: its state leaves out c and its running mean, so a resumed run differs from one never
    stopped. As in the paper, weights fall below 1 on clean pairs too, as c is a softmax value. GSC+, two
    networks that exchange weights, is not here. The paper's schedule: Adam at 2e-4, a fifth every 15 of 60
    epochs (MS-COCO every 20); batches of 128; gamma 0.01, or 0.05 for GSC+ on MS-COCO.

    References:
        Zhao et al., "Mitigating Noisy Correspondence by Geometrical Structure Consistency Learning", CVPR
        2024.
    """

    Config: ClassVar[type[Options]] = GSCOptions
    config: GSCOptions
    columns: ClassVar[Mapping[str, float]] = dict.fromkeys(_COLUMNS, 1.0)

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """All pairs, with weights by the evidence of the epoch before."""
        plan = super().plan_epoch(epoch, scorer)
        if epoch == 0:
            return plan
        for name, values in self._running().items():
            self.state[name] = values
        found = divide_at(self.state["weight"], self.config.threshold, _REASON)
        return EpochPlan(plan.groups, division_metrics(found), found)

    def estimate(self, scorer: Scorer) -> Division | None:
        """The weights that the next epoch would have; None before the first has ended."""
        del scorer
        begun = bool((self.state["match"] < 1).any())
        return divide_at(self._running()["weight"], self.config.threshold, _REASON) if begun else None

    def _running(self) -> dict[str, Tensor]:
        """Running means and weights (N,) once the evidence of the epoch is counted."""
        config, state = self.config, self.state
        against = -state["agreement"].numpy()
        if config.released:
            division = gaussian_as_released(against)
        else:
            division = divide_by_mixture(against, "gaussian", always=True)
        posterior = torch.from_numpy(division.clean_probability).float()
        match = running_target(state["running_match"], state["match"], config.keep)
        agreement = running_target(state["running_agreement"], posterior, config.keep)
        weight = torch.minimum(match, agreement)
        return {"running_match": match, "running_agreement": agreement, "weight": weight}

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """Learn by the weights of a batch, and note the evidence for its pairs."""
        config, batch, matcher = self.config, batches["all"], self.matcher
        weight = self.state.of("weight", batch)
        same = self.not_negatives(batch)
        images, texts = matcher.encode_images(batch.images), matcher.encode_texts(batch.texts)
        scores = matcher.score(images, texts).float()
        with evaluation_mode(matcher):
            among_images = matcher.score(images, images).float().clamp(min=0) * weight
            among_texts = matcher.score(texts, texts).float().clamp(min=0) * weight
        self.state.put("match", batch, match_probability(scores.detach(), config.temperature, same))
        self.state.put("agreement", batch, row_agreement(among_images.detach(), among_texts.detach()))
        structure = weight * topology_loss(among_images, among_texts, same_image=same)
        losses = {
            "pair_loss": (weight * infonce_loss(scores, config.temperature, same)).mean(),
            "structure_loss": config.structure_weight * structure.mean(),
        }
        return added(losses, more={"weight": weight.mean()})
