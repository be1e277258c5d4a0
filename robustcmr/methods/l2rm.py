"""L2RM: believe the pairs that look clean, and rematch the others by partial transport at a learned cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from robustcmr.correction import (
    CostNetwork,
    LegacyCostNetwork,
    allowed_cells,
    legacy_plan,
    legacy_planted_loss,
    legacy_planted_problem,
    planted_loss,
    planted_problem,
    rematch,
    rematch_targets,
)
from robustcmr.losses.cross_entropy import (
    infonce_loss,
    log_matching_probabilities,
    robust_cross_entropy_loss,
)
from robustcmr.losses.hinge import hinge_loss
from robustcmr.losses.matching import soft_cross_entropy_loss, symmetric_kl_loss
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method, Scorer
from robustcmr.methods.l2rm_options import L2RMOptions
from robustcmr.methods.teacher import Teacher
from robustcmr.options import Options
from robustcmr.selection import (
    at_noise_rate,
    batch_cross_entropy,
    batch_hinge,
    divide,
    divide_by_reference,
)
from robustcmr.types import Division, EpochPlan, PairBatch, Rematch, StepResult

_LEAST_WEIGHT = 1e-3
"""Pairs that count for less than that together are not made to count for more."""


class L2RM(Method):
    """Learning to rematch mismatched pairs, with everything that is ours switchable.

    After a warm-up on all pairs, each epoch asks of every pair how likely it is clean. A step adds up

    - the matching loss of the given pairs, each counted by that probability;
    - for suspected pairs, the distance to targets that partial transport finds: at a learned cost, their
      captions are moved to the images of the batch, never back to the image they were given, and each target
      counts by the mass that was moved for it;
    - for all, agreement with a teacher, the running mean of the matcher, which also judges and sets the cost;
    - for the cost network, how well it finds matches planted among clean pairs.

    Departures from the paper, each with its option: no dummy points (``solver``); targets weighted by mass
    (``weighting``); a cost network of any size with a contrast (``cost``); cross entropies divided by how
    much they resemble those of pairs mismatched on purpose (``mixture``); soft weights (``clean_weights``),
    lenient where most pairs are wrong (``most_wrong``); one mixed batch in place of two, as long as it holds
    enough pairs that are believed (``streams``);
    InfoNCE in place of the hardest negatives (``clean_loss``); the teacher (``teacher_decay``,
    ``agreement``); a warm-up that lasts longer where the matcher cannot yet tell pairs apart
    (``warmup_extension``). ``legacy: true`` is the released recipe.

    References:
        Han et al., Learning to Rematch Mismatched Pairs for Robust Cross-Modal Retrieval, CVPR 2024.
    """

    Config: ClassVar[type[Options]] = L2RMOptions
    config: L2RMOptions

    def __init__(
        self, config: L2RMOptions, matchers: Sequence[Matcher], n_pairs: int, batch_size: int
    ) -> None:
        super().__init__(config, matchers, n_pairs, batch_size)
        self.matcher = self.matchers[0]
        self.teacher = None if config.teacher_decay is None else Teacher(self.matcher, config.teacher_decay)
        self.cost: CostNetwork | LegacyCostNetwork | None = None
        if config.rematch_weight > 0 and config.cost != "similarity":
            self.cost = CostNetwork() if config.cost == "network" else LegacyCostNetwork(batch_size)
        self.warming_up = True
        self.clean_probability = torch.ones(n_pairs)  # (N,)
        self.is_clean = torch.ones(n_pairs, dtype=torch.bool)  # (N,)

    @property
    def auxiliary(self) -> Mapping[str, nn.Module]:
        """The teacher and the cost network."""
        networks = {"teacher": self.teacher, "cost": self.cost}
        return {name: network for name, network in networks.items() if network is not None}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The matcher's own, and the cost network at its own rate without decay."""
        groups = self.matcher.parameter_groups()
        if self.cost is not None:
            own = {"lr": self.config.cost_lr, "weight_decay": 0.0}
            groups.append({"params": list(self.cost.parameters()), **own})
        return groups

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """All pairs while warming up; then a division, and batches of all or of clean and suspected pairs."""
        if epoch < self.config.warmup_epochs:
            return super().plan_epoch(epoch, scorer)
        self.epoch = epoch
        division = self.estimate(scorer)
        ids = np.arange(self.n_pairs, dtype=np.int64)
        metrics = {"suspected": float((~division.is_clean).mean())}
        if division.noise_rate is not None:
            metrics["noise_rate"] = division.noise_rate
        self.warming_up = self.warming_up and self._knows_too_little(division)
        if self.warming_up:
            return EpochPlan({"all": ids}, metrics, division)
        belief = self._lenient(division)
        is_clean = belief > division.threshold
        self.clean_probability, self.is_clean = torch.from_numpy(belief).float(), torch.from_numpy(is_clean)
        streams = {"all": ids}
        if self._splits(division):
            streams = {"clean": ids[is_clean], "noisy": ids[~is_clean]}
        return EpochPlan(streams, metrics, division)

    def _splits(self, division: Division) -> bool:
        """Whether believed and suspected pairs come in batches of their own this epoch.

        A mixed batch teaches more, as its suspected pairs are negatives too; but where most pairs are wrong
        it holds few that are believed, and full batches of those, visited more often, teach more.
        """
        if self.config.streams == "auto":
            return division.noise_rate is not None and division.noise_rate > self.config.split_above
        return self.config.streams == "split"

    def _lenient(self, division: Division) -> npt.NDArray[np.float64]:
        """(N,) probability of being clean that training goes by.

        Where most pairs are wrong, hardly one would be believed as long as right ones are hard to tell, and
        the matcher would learn from those few alone.
        """
        rate, most = division.noise_rate, self.config.most_wrong
        if rate is None or rate <= most:
            return division.clean_probability
        return at_noise_rate(division.clean_probability, rate, most)

    def _knows_too_little(self, division: Division) -> bool:
        """Whether the matcher has learned too little to divide by: at first all pairs look mismatched to it.

        A division then leaves few pairs to learn from, hardly better than others, and what is learned from
        them makes the next one no better.
        """
        if self.epoch >= self.config.warmup_epochs + self.config.warmup_extension:
            return False
        return division.noise_rate is not None and division.noise_rate > self.config.unclear

    def estimate(self, scorer: Scorer) -> Division:
        """Divide the pairs by their evidence under the teacher, or the matcher where there is none."""
        judge = self.matcher if self.teacher is None else self.teacher.matcher
        config = self.config
        if config.mixture == "anchored":
            found = scorer(self._cross_entropies, judge)  # (N, 2)
            reference = found[:, 1]
            return divide_by_reference(found[:, 0], reference[~np.isnan(reference)], config.threshold)
        return divide(
            scorer(self._hinges, judge), config.mixture, config.threshold, always=config.always_divide
        )

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """The losses of one step, over one batch or over a clean and a noisy one."""
        if self.teacher is not None:
            self.teacher.follow(self.matcher)
        if self.warming_up:
            return self._warm_up(batches["all"])
        # the noisy batch is for rematching alone
        parts = [self._learn(batch, name != "noisy") for name, batch in batches.items()]
        metrics: dict[str, Tensor | float] = {}
        for part in parts:
            for name, value in part.metrics.items():
                metrics[name] = metrics.get(name, 0.0) + value
        loss = torch.stack([part.loss for part in parts]).sum()
        rematches = [part.rematch for part in parts if part.rematch is not None]
        return StepResult(loss, metrics, rematches[0] if rematches else None)

    def state_dict(self) -> dict[str, Any]:
        """Epoch, beliefs and whether the warm-up lasts."""
        beliefs = {"clean_probability": self.clean_probability, "is_clean": self.is_clean}
        return {**super().state_dict(), **beliefs, "warming_up": self.warming_up}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back epoch and beliefs."""
        super().load_state_dict(state)
        self.clean_probability, self.is_clean = state["clean_probability"], state["is_clean"]
        self.warming_up = state["warming_up"]

    def _hinges(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """(B,) evidence against each pair."""
        return batch_hinge(scores, self.config.evidence_margin, batch.same_image)

    def _cross_entropies(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """(B, 2) evidence against each pair, and against a pair mismatched on purpose."""
        return batch_cross_entropy(scores, self.config.temperature, batch.same_image)

    def _same_image(self, batch: PairBatch) -> Tensor | None:
        return batch.same_image if self.config.mask_same_image else None

    def _warm_up(self, batch: PairBatch) -> StepResult:
        scores, same_image = self.matcher(batch.images, batch.texts), self._same_image(batch)
        loss = self._cross_entropy(self.config.warmup_loss, scores, same_image).mean()
        losses = {"warmup_loss": loss}
        if self._agrees and self.teacher is not None:
            losses["agreement_loss"] = self._agreement_loss(scores, self.teacher(batch), batch)
        return _added(losses)

    @property
    def _agrees(self) -> bool:
        return self.config.agreement > 0 and self.epoch >= self.config.agreement_epoch

    def _cross_entropy(self, kind: str, scores: Tensor, same_image: Tensor | None) -> Tensor:
        """(B,) cross entropy, or with ``rce`` its sum with the reverse one."""
        if kind == "rce":
            return robust_cross_entropy_loss(scores, self.config.temperature, same_image, self.config.floor)
        return infonce_loss(scores, self.config.temperature, same_image)

    def _learn(self, batch: PairBatch, as_given: bool) -> StepResult:
        """The losses of one batch that may hold clean and suspected pairs, learned as given or not."""
        scores = self.matcher(batch.images, batch.texts)
        judged = scores.detach().float() if self.teacher is None else self.teacher(batch)
        ids = batch.pair_ids.cpu()
        belief = self.clean_probability[ids].to(scores.device)  # (B,)
        is_clean = self.is_clean[ids].to(scores.device)  # (B,)
        weights, doubts = belief, 1 - belief
        if self.config.clean_weights == "equal":
            weights, doubts = is_clean.to(belief), torch.ones_like(belief)
        if not as_given:
            weights = torch.zeros_like(weights)
        losses = {"clean_loss": self._clean_loss(scores, batch, weights)}
        if self._agrees:
            losses["agreement_loss"] = self._agreement_loss(scores, judged, batch)
        if self.cost is not None:
            losses["cost_loss"] = self._cost_loss(judged, batch, is_clean)
        if not self._can_rematch(~is_clean):
            return _added(losses)
        found, losses["rematch_loss"], solved = self._rematch(scores, judged, batch, ~is_clean, doubts)
        return _added(losses, found, solved)

    def _clean_loss(self, scores: Tensor, batch: PairBatch, weights: Tensor) -> Tensor:
        """Scalar matching loss, each pair counted by its weight."""
        same_image = self._same_image(batch)
        if self.config.clean_loss == "hinge":  # summed, as released
            return (weights * hinge_loss(scores, self.config.margin, True, same_image)).sum()
        losses = self._cross_entropy(self.config.clean_loss, scores, same_image)
        return (weights * losses).sum() / weights.sum().clamp(min=_LEAST_WEIGHT)

    def _agreement_loss(self, scores: Tensor, judged: Tensor, batch: PairBatch) -> Tensor:
        """Scalar cross entropy to the teacher's matching probabilities, both directions averaged."""
        same_image, tau = self._same_image(batch), self.config.temperature
        targets = [log_p.exp() for log_p in log_matching_probabilities(judged, tau, same_image)]
        others = None
        if same_image is not None:
            others = ~same_image | torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        rows, columns = soft_cross_entropy_loss(scores, targets[0], targets[1], tau, others)
        return self.config.agreement * 0.5 * (rows.mean() + columns.mean())

    def _cost_loss(self, judged: Tensor, batch: PairBatch, is_clean: Tensor) -> Tensor:
        """Scalar loss of a learned cost on matches planted among the clean pairs of the batch."""
        clean = is_clean.nonzero().squeeze(1)  # (k,)
        least, most = self.config.planted_least, self.config.planted_most
        share = least + (most - least) * float(torch.rand(()))
        scores, same_image = judged[clean][:, clean], batch.same_image[clean][:, clean]
        if isinstance(self.cost, LegacyCostNetwork):
            if len(clean) < self.cost.batch_size:
                return judged.new_zeros(())
            legacy = legacy_planted_problem(scores, share, same_image)
            return legacy_planted_loss(self.cost(legacy.scores), legacy.is_match)
        if self.cost is None or len(clean) < 2:
            return judged.new_zeros(())
        found = planted_problem(scores, share, same_image)
        cost = self.cost(found.scores, found.allowed)
        return planted_loss(
            cost, found.is_match, found.allowed, self.config.temperature, self.config.contrast
        )

    def _can_rematch(self, suspected: Tensor) -> bool:
        count = int(suspected.sum())
        if isinstance(self.cost, LegacyCostNetwork) and count != self.cost.batch_size:
            return False  # it knows no other number of captions
        return self.config.rematch_weight > 0 and count > 0

    def _rematch(
        self, scores: Tensor, judged: Tensor, batch: PairBatch, suspected: Tensor, doubts: Tensor
    ) -> tuple[Rematch, Tensor, Mapping[str, Tensor | float]]:
        """Move the suspected captions of a batch among its images: the plan, the loss, how it was solved."""
        columns = suspected.nonzero().squeeze(1)  # (k,)
        pair_ids = batch.pair_ids.to(scores.device)
        same_image = batch.same_image[:, columns] if self.config.mask_same_image else None
        allowed = allowed_cells(pair_ids, pair_ids[columns], same_image)  # (B, k)
        seen = judged[:, columns]
        with torch.no_grad():
            cost = 1.0 - seen if self.cost is None else self.cost(seen, allowed)
        solve = rematch if self.config.solver == "partial" else legacy_plan
        moved = solve(cost, allowed, self.config.mass, self.config.epsilon)
        plan = moved.plan
        targets = rematch_targets(plan, allowed, self.config.weighting)
        tau = self.config.temperature
        if self.config.rematch_loss == "kl":
            rows, of_columns = symmetric_kl_loss(
                scores[:, columns], targets.rows, targets.columns, tau, allowed, self.config.floor
            )
        else:
            rows, of_columns = soft_cross_entropy_loss(
                scores[:, columns], targets.rows, targets.columns, tau, allowed
            )
        # clean images know their caption; only those of suspected pairs learn from the plan
        by_image = (targets.row_weights * rows * suspected * doubts).sum()
        by_caption = (targets.column_weights * of_columns * doubts[columns]).sum()
        found = Rematch(pair_ids, pair_ids[columns], plan, seen, allowed)
        solved: Mapping[str, Tensor | float] = {
            "solver_failed": 1.0 - moved.converged.float(),
            "solver_iterations": float(moved.iterations),
            "solver_error": moved.marginal_error,
        }
        return found, self.config.rematch_weight * 0.5 * (by_image + by_caption) / len(scores), solved


def _added(
    losses: Mapping[str, Tensor],
    rematched: Rematch | None = None,
    solved: Mapping[str, Tensor | float] = MappingProxyType({}),
) -> StepResult:
    total = torch.stack(list(losses.values())).sum()
    metrics = {name: value.detach() for name, value in losses.items()}
    return StepResult(total, {**metrics, **solved}, rematched)
