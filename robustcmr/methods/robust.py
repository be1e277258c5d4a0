"""``robust``: weigh pairs by their clean probability, and rematch suspected captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from robustcmr.correction.partners import draw_partners, partner_chances
from robustcmr.losses.cross_entropy import robust_cross_entropy_loss
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method, Scorer
from robustcmr.methods.robust_options import RobustOptions
from robustcmr.methods.step_results import added, division_metrics, joined
from robustcmr.methods.teacher import Teacher
from robustcmr.options import Options
from robustcmr.selection.before_training import divide_before_training
from robustcmr.selection.cross_fitting import share_in_best
from robustcmr.selection.divide import divide_by_reference
from robustcmr.selection.evidence import batch_cross_entropy
from robustcmr.selection.joined_evidence import divide_by_both
from robustcmr.selection.noise_rate import at_noise_rate
from robustcmr.selection.told_rate import told_noise_rate
from robustcmr.types import (
    Division,
    EpochPlan,
    FloatArray,
    IntArray,
    PairBatch,
    PairContents,
    PairVectors,
    StepResult,
)

_LEAST_WEIGHT = 1e-3
"""Batches whose weights sum to less are not scaled up further."""
_FEW = 0.25
"""Where no pair looks wrong, at most this share of mismatched pairs fits better than half the given ones."""
_BEST = 0.01
"""Share of the images that count as the best for a caption."""
_LEAST_TOLD = 0.5
"""Least share of the clean pairs that a division before training must tell from the others."""
_SAVED = (
    *("clean_probability", "is_clean", "splits", "image_from", "next_division"),
    *("warming_up", "weighs_warm_up"),
)
"""Attributes that go on after a stop."""


class Robust(Method):
    """Our method for mismatched pairs, built on ideas of L2RM.

    After a warm-up on all pairs, every other epoch (``divide_every``) estimates each pair's clean
    probability by its cross entropy under a teacher, a running mean of the matcher, compared with pairs
    mismatched on purpose. With ``divide_first`` a linear model of words and image features, which needs no
    training, does so too: it joins in where images can be found by their captions (``least_findable``), and
    elsewhere is believed for as long as it finds fewer wrong pairs. With w the probability, a step minimises
    the cross entropy, plus a little of its reverse (``reverse_floor``), of

    - the given pairs, weighted by w;
    - suspected captions, weighted by 1 - w, with images that are drawn for them from the whole training set
      (:func:`~robustcmr.correction.partners.draw_partners`) after each division, where images can be found
      by their captions.

    Where most pairs are wrong, w assumes a lower noise rate (``most_wrong``), clean and suspected pairs come
    in batches of their own (``groups``), and the warm-up is extended (``warmup_extension``).

    References:
        Han et al., Learning to Rematch Mismatched Pairs for Robust Cross-Modal Retrieval, CVPR 2024, for
        rematching; ``l2rm`` is its released recipe.
    """

    Config: ClassVar[type[Options]] = RobustOptions
    config: RobustOptions

    def __init__(
        self, config: RobustOptions, matchers: Sequence[Matcher], n_pairs: int, batch_size: int
    ) -> None:
        super().__init__(config, matchers, n_pairs, batch_size)
        self.teacher = None if config.teacher_decay is None else Teacher(self.matcher, config.teacher_decay)
        self.contents: PairContents | None = None  # read when needed, always the same
        self.first: Division | None = None  # by the linear model
        self.in_best: float | None = None  # share of pairs; None until the linear model is asked
        self.findable = 0.0  # the same of clean pairs
        self.warming_up = True
        self.weighs_warm_up = False
        self.clean_probability = torch.ones(n_pairs)  # (N,)
        self.is_clean = torch.ones(n_pairs, dtype=torch.bool)  # (N,)
        self.splits = False  # whether clean and suspected pairs come in batches of their own
        self.image_from: Tensor | None = None  # (N,) pair whose image a caption learns with
        self.next_division = 0  # epoch

    @property
    def auxiliary(self) -> Mapping[str, nn.Module]:
        """The teacher."""
        return {} if self.teacher is None else {"teacher": self.teacher}

    def start_from(self, clean_probability: FloatArray) -> bool:
        """Weigh the loss of each pair in the warm-up; see :class:`Method`."""
        self.clean_probability = torch.from_numpy(clean_probability).float()
        self.weighs_warm_up = self.config.warmup_epochs > 0
        return self.weighs_warm_up

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """All pairs while warming up; then batches by the division of this epoch, or of one before."""
        config = self.config
        if self.warming_up and epoch < config.warmup_epochs:
            return super().plan_epoch(epoch, scorer)
        self.epoch = epoch
        if epoch < self.next_division:
            return self._plan()
        division, of_matcher, vectors = self._divide(scorer, rematching=config.rematch_weight > 0)
        told = told_noise_rate(division, of_matcher, self._early(epoch))
        metrics = division_metrics(division)  # what training goes by
        if self.in_best is not None:
            metrics["findable"] = self.findable
        rate = division.noise_rate or 0.0
        # at first all pairs look mismatched to the matcher, as it knows too little to divide by
        extends = epoch < config.warmup_epochs + config.warmup_extension and rate > config.unclear
        self.warming_up = self.warming_up and extends and division is of_matcher
        if self.warming_up:
            return replace(super().plan_epoch(epoch, scorer), metrics=metrics, estimate=told)
        self.next_division = epoch + (config.divide_every if self.next_division else 1)
        self._go_by(division, vectors, scorer)
        return replace(self._plan(), metrics=metrics, estimate=told)

    def _go_by(self, division: Division, vectors: PairVectors | None, scorer: Scorer) -> None:
        """Weigh and group the pairs by a division, and draw images for suspected captions, given vectors."""
        config, rate = self.config, division.noise_rate or 0.0
        probability = division.clean_probability  # (N,)
        if rate > config.most_wrong:  # so that enough pairs count
            probability = at_noise_rate(probability, rate, config.most_wrong)
        is_clean = probability > division.threshold
        self.clean_probability = torch.from_numpy(probability).float()
        self.is_clean = torch.from_numpy(is_clean)
        # suspected pairs of a mixed batch are negatives, too; but where most are wrong, few are clean
        self.splits = rate > config.split_above if config.groups == "auto" else config.groups == "split"
        suspected, self.image_from = np.flatnonzero(~is_clean), None
        if vectors is not None and len(suspected):
            rng = np.random.default_rng(int(torch.randint(2**31, ())))
            known = self._contents(scorer), vectors, division.clean_probability
            self.image_from = torch.arange(self.n_pairs)
            drawn = draw_partners(*known, suspected, rng, self._device)
            self.image_from[suspected] = torch.from_numpy(drawn)

    def _plan(self) -> EpochPlan:
        """Batches by the last division, and the images drawn then."""
        ids, is_clean = np.arange(self.n_pairs, dtype=np.int64), self.is_clean.numpy()
        groups = {"clean": ids[is_clean], "noisy": ids[~is_clean]} if self.splits else {"all": ids}
        return EpochPlan(groups, image_from=None if self.image_from is None else self.image_from.numpy())

    def partners(self, captions: IntArray, scorer: Scorer) -> tuple[IntArray, FloatArray] | None:
        """The images that suspected captions are drawn from; see :class:`Method`."""
        if self.image_from is None:
            return None
        division, _, vectors = self._divide(scorer, rematching=True)
        if vectors is None:
            return None
        known = self._contents(scorer), vectors, division.clean_probability
        images, chances = partner_chances(*known, captions, np.random.default_rng(0), self._device)
        return images, chances.astype(np.float32)

    @property
    def _device(self) -> torch.device:
        return next(self.matcher.parameters()).device

    def _contents(self, scorer: Scorer) -> PairContents:
        if self.contents is None:
            self.contents = scorer.contents()
        return self.contents

    def _ask_contents(self, scorer: Scorer) -> None:
        """Divide by what the pairs hold, once, and find how often images are found by their captions."""
        config = self.config
        if self.in_best is not None or not (config.divide_first or config.rematch_weight > 0):
            return
        contents, self.in_best = self._contents(scorer), 0.0
        found = divide_before_training(contents, config.threshold)
        clean = found.clean_probability
        told = float(clean[found.is_clean].sum()) >= _LEAST_TOLD * float(clean.sum())
        if told and found.noise_rate is not None:
            self.first, self.in_best = found, share_in_best(contents, clean, _BEST)

    def estimate(self, scorer: Scorer) -> Division:
        """Divide the pairs; the noise rate is told where :func:`told_noise_rate` allows it."""
        division, of_matcher, _ = self._divide(scorer)
        return told_noise_rate(division, of_matcher, self._early(self.epoch + 1))

    def _early(self, trained: int) -> bool:
        """Whether the matcher knows too little after so many epochs for its noise rate to be told."""
        return trained < 2 * self.config.warmup_epochs

    def _seen(self, scorer: Scorer, rematching: bool) -> tuple[FloatArray, IntArray, PairVectors | None]:
        """Return the teacher's evidence (N, 2), pairs whose images were mismatched (N,), and any vectors."""
        scoring = self.matcher if self.teacher is None else self.teacher.matcher
        partner = np.empty(self.n_pairs, dtype=np.int64)

        def evidence(scores: Tensor, batch: PairBatch) -> Tensor:
            ids = batch.pair_ids.cpu().numpy()
            partner[ids] = np.roll(ids, -1)  # as batch_cross_entropy mismatches them
            return batch_cross_entropy(scores, self.config.temperature, batch.same_image)

        if rematching:
            found, vectors = scorer.with_vectors(evidence, scoring, self.config.vectors_on_disk)
            return found, partner, vectors
        return scorer(evidence, scoring), partner, None

    def _divide(
        self, scorer: Scorer, rematching: bool = False
    ) -> tuple[Division, Division, PairVectors | None]:
        """Return the division to believe, that by the matcher or its teacher, and vectors to rematch by."""
        config = self.config
        self._ask_contents(scorer)
        seen, partner, vectors = self._seen(scorer, rematching)
        own, reference = seen[:, 0], seen[~np.isnan(seen[:, 1]), 1]
        found, first = divide_by_reference(own, reference, config.threshold), self.first
        rates = [each.noise_rate for each in (found, first) if each and each.noise_rate is not None]
        rate, in_best = min(rates, default=0.0), self.in_best or 0.0
        self.findable = max(0.0, (in_best - _BEST * rate) / (1 - rate))  # _BEST of mismatched pairs are
        finds = self.findable >= config.least_findable
        vectors = vectors if finds else None
        if first is None or not config.divide_first or self.weighs_warm_up:
            return found, found, vectors
        # one group is that of clean pairs, or the matcher tells none
        if found.noise_rate is None and np.median(own) < np.nanquantile(seen[:, 1], _FEW):
            return found, found, vectors
        # both count clean pairs that they do not understand as wrong; so the lower rate understands more
        lower = first if first.noise_rate == rate else found
        if not finds:
            return lower, found, vectors
        known = replace(self._contents(scorer), partner=partner)
        both = divide_by_both(seen, known, lower.clean_probability, config.threshold)
        return (lower if both.noise_rate is None else both), found, vectors

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """The losses of one step, over one batch or over a clean and a noisy one."""
        if self.teacher is not None:
            self.teacher.follow(self.matcher)
        if self.warming_up:
            return self._warm_up(batches["all"])
        rematches = self.image_from is not None  # all that a batch of suspected pairs teaches
        teaching = [name for name in batches if rematches or name != "noisy"] or list(batches)
        return joined([self._learn(batches[name], name != "noisy") for name in teaching])

    def _warm_up(self, batch: PairBatch) -> StepResult:
        losses = self._losses(batch)
        loss = losses.mean()
        if self.weighs_warm_up:
            weights = self.clean_probability[batch.pair_ids.cpu()].to(losses.device)  # (B,)
            loss = (weights * losses).sum() / weights.sum().clamp(min=_LEAST_WEIGHT)
        return added({"warmup_loss": loss})

    def _learn(self, batch: PairBatch, as_given: bool) -> StepResult:
        """The losses of one batch; ``as_given`` is False for a batch of suspected pairs alone."""
        of_pairs, ids = self._losses(batch), batch.pair_ids.cpu()
        clean = self.clean_probability[ids].to(of_pairs.device)  # (B,)
        rematched = ~self.is_clean[ids].to(of_pairs.device) & (self.image_from is not None)  # (B,)
        weights = clean * ~rematched * float(as_given)
        losses = {"clean_loss": (weights * of_pairs).sum() / weights.sum().clamp(min=_LEAST_WEIGHT)}
        if self.image_from is not None:
            weights = self.config.rematch_weight * (1 - clean) * rematched
            losses["rematch_loss"] = (weights * of_pairs).sum() / len(batch)
        return added(losses)

    def _losses(self, batch: PairBatch) -> Tensor:
        """(B,) loss of each pair."""
        scores, config = self.matcher(batch.images, batch.texts), self.config
        return robust_cross_entropy_loss(scores, config.temperature, batch.same_image, config.reverse_floor)

    def state_dict(self) -> dict[str, Any]:
        """Epoch, the last division and the next, drawn images, and how the warm-up lasts."""
        return {**super().state_dict(), **{name: getattr(self, name) for name in _SAVED}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        for name in _SAVED:
            setattr(self, name, state[name])
