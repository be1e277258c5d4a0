"""CRCL: each pair's correspondence, refined in training, moves it from InfoNCE to the complementary loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar

from pydantic import Field

from robustcmr.correction.running import running_target
from robustcmr.losses.complementary import complementary_loss
from robustcmr.losses.cross_entropy import infonce_loss, match_probability
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method, Scorer
from robustcmr.methods.step_results import added, division_metrics
from robustcmr.options import Options
from robustcmr.selection.threshold import divide_at
from robustcmr.types import Division, EpochPlan, PairBatch, StepResult

_REASON = (
    "the correspondence that training refined, a running mean of how surely image and caption pick each other"
)


class CRCLOptions(Options):
    """Options of CRCL; epochs count from 0."""

    temperature: float = Field(0.05, gt=0.0, description="tau of the softmax, in units of the score")
    complementary_weight: float = Field(5.0, ge=0.0, description="weight of the complementary loss")
    keep: float = Field(0.8, ge=0.0, lt=1.0, description="share of the correspondence kept in each step")
    least: float = Field(0.1, ge=0.0, lt=1.0, description="smaller correspondences become 0")
    warmup_epochs: int = Field(
        2, ge=0, description="first epochs of each piece, in which correspondences stay as they are"
    )
    pieces: tuple[int, ...] = Field(
        (),
        description="epochs after the warm-up of each piece but the last; published: 5,5,5",
    )
    threshold: float = Field(
        0.5, gt=0.0, lt=1.0, description="a pair is reported clean if its correspondence exceeds this"
    )
    released: bool = Field(
        False, description="captions of the same image are negatives of each other, as in the released code"
    )


class CRCL(Method):
    """Active complementary learning with self-refining correspondence.

    Every pair has a correspondence y, 1 at first. With its match probability m = (p_ii + q_ii) / 2 each step
    sets y to 0.8 y + 0.2 m, or to 0 below 0.1, and minimises the mean of

        y (-log p_ii - log q_ii) + 5 [sum_{j != i} tan p_ij / (sum_j tan p_ij)^(1 - y), and the same of q]

    so that a sure pair is pulled together and an unsure one only pushes the others away. The warm-up leaves y
    as it is; in its last epoch y becomes m for the next one. With ``pieces``, training starts over after each
    piece: networks return to the first weights of the run, and only y is carried on. A run of given length is
    one piece by default, so that methods of the same length are compared.

    From the released code, on which the paper is silent: the y of a step is that after its update, and y is
    replaced by m in the first piece alone. Departure: pieces start from the run's first weights, where the
    release draws others, so that pretrained networks return to what they were. A warm-up too short for m to
    pass 0.1 leaves y at 0. The paper's schedule: AdamW at 5e-4, a tenth from epoch 15 of a piece; pieces of
    5, 5, 5, 30 (MS-COCO 2, 2, 2, 20), each after 2 epochs of warm-up, thousands of steps; batches of 128.

    References:
        Qin et al., "Cross-modal Active Complementary Learning with Self-refining Correspondence", NeurIPS
        2023.
    """

    Config: ClassVar[type[Options]] = CRCLOptions
    config: CRCLOptions
    columns: ClassVar[Mapping[str, float]] = {"correspondence": 1.0}

    def __init__(self, config: Any, matchers: Sequence[Matcher], n_pairs: int, batch_size: int) -> None:
        super().__init__(config, matchers, n_pairs, batch_size)
        lengths = (length + config.warmup_epochs for length in config.pieces)
        self.starts = (0, *accumulate(lengths))
        """First epoch of each piece."""

    @property
    def restarts(self) -> bool:
        """Whether there is more than one piece."""
        return len(self.starts) > 1

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """All pairs; a new piece starts over."""
        groups, found = super().plan_epoch(epoch, scorer).groups, self.estimate(scorer)
        metrics = {} if found is None else division_metrics(found)
        return EpochPlan(groups, metrics, found, restart=epoch in self.starts[1:])

    def estimate(self, scorer: Scorer) -> Division | None:
        """What the steps so far have made of the correspondences; None while all are 1."""
        del scorer
        found = self.state["correspondence"].numpy()
        return None if (found == 1).all() else divide_at(found, self.config.threshold, _REASON)

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """Refine the correspondence of a batch, then learn by it."""
        config, batch = self.config, batches["all"]
        scores = self.matcher(batch.images, batch.texts).float()
        same = self.not_negatives(batch)
        match = match_probability(scores.detach(), config.temperature, same)
        trust = self.state.of("correspondence", batch)
        since = self.epoch - max(start for start in self.starts if start <= self.epoch)
        if since >= config.warmup_epochs:
            trust = running_target(trust, match, config.keep, config.least)
        replaced = self.epoch == config.warmup_epochs - 1
        self.state.put("correspondence", batch, match if replaced else trust)
        pulled = trust * 2 * infonce_loss(scores, config.temperature, same)
        pushed = complementary_loss(scores, config.temperature, "tan", same, trust)
        losses = {
            "pair_loss": pulled.mean(),
            "complementary_loss": config.complementary_weight * pushed.mean(),
        }
        return added(losses, more={"correspondence": trust.mean()})
