"""L2RM as released: rematch suspected pairs by partial transport at a learned cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from robustcmr.correction.dummy_points import dummy_point_plan
from robustcmr.correction.positional_cost import PositionalCost, positional_loss, positional_problem
from robustcmr.correction.rematching import allowed_cells, rematch, rematch_targets
from robustcmr.losses.cross_entropy import robust_cross_entropy_loss
from robustcmr.losses.hinge import hinge_loss
from robustcmr.losses.matching import symmetric_kl_loss
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method, Scorer
from robustcmr.methods.l2rm_options import L2RMOptions
from robustcmr.methods.step_results import added, division_metrics, joined
from robustcmr.options import Options
from robustcmr.selection.divide import divide_by_mixture
from robustcmr.selection.evidence import batch_hinge
from robustcmr.types import Division, EpochPlan, PairBatch, Rematch, StepResult


class L2RM(Method):
    """Learning to rematch mismatched pairs, the released recipe with any matcher.

    1. Warm-up: robust cross entropy on all pairs.
    2. Each epoch, a two-component mixture of the mean in-batch hinge divides clean from suspected pairs.
    3. A step takes a batch of clean and a batch of suspected pairs. It adds up the hinge with hardest
       negatives of the clean ones, the symmetric KL divergence of the suspected ones to the targets of a
       partial plan, and the loss of the cost network on synthetic matches among the clean ones.

    Departures from the release: the mask depends on the division alone, not on the injected noise rate, and
    the plan is computed on the device of the scores. Only full batches train the cost and are rematched, as
    the released cost network is tied to the batch size.

    References:
        Han et al., Learning to Rematch Mismatched Pairs for Robust Cross-Modal Retrieval, CVPR 2024.
    """

    Config: ClassVar[type[Options]] = L2RMOptions
    config: L2RMOptions

    def __init__(
        self, config: L2RMOptions, matchers: Sequence[Matcher], n_pairs: int, batch_size: int
    ) -> None:
        super().__init__(config, matchers, n_pairs, batch_size)
        self.cost = PositionalCost(batch_size) if config.rematch_weight > 0 else None

    @property
    def auxiliary(self) -> Mapping[str, nn.Module]:
        """The cost network."""
        return {} if self.cost is None else {"cost": self.cost}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The matcher's own, and the cost network at its own rate without decay."""
        groups = self.matcher.parameter_groups()
        if self.cost is not None:
            own = {"lr": self.config.cost_lr, "weight_decay": 0.0}
            groups.append({"params": list(self.cost.parameters()), **own})
        return groups

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """All pairs while warming up; then batches of clean and of suspected pairs."""
        if epoch < self.config.warmup_epochs:
            return super().plan_epoch(epoch, scorer)
        self.epoch = epoch
        division = self.estimate(scorer)
        ids = np.arange(self.n_pairs, dtype=np.int64)
        groups = {"clean": ids[division.is_clean], "noisy": ids[~division.is_clean]}
        return EpochPlan(groups, division_metrics(division), division)

    def estimate(self, scorer: Scorer) -> Division:
        """Divide the pairs by their mean hinge, even where a mixture is not supported by the data."""
        config = self.config
        found = scorer(lambda s, b: batch_hinge(s, config.evidence_margin, b.same_image), self.matcher)
        return divide_by_mixture(found, config.mixture, config.threshold, always=True)

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """The warm-up loss of all pairs, or the losses of a clean and a suspected batch."""
        if self.epoch < self.config.warmup_epochs:
            batch = batches["all"]
            scores = self.matcher(batch.images, batch.texts)
            losses = robust_cross_entropy_loss(scores, self.config.temperature, None, self.config.floor)
            return added({"warmup_loss": losses.mean()})
        return joined([self._learn(batch, name == "clean") for name, batch in batches.items()])

    def _learn(self, batch: PairBatch, clean: bool) -> StepResult:
        scores = self.matcher(batch.images, batch.texts)
        steady = scores.detach().float()
        losses = {"clean_loss": hinge_loss(scores, self.config.margin, hardest=True).sum() * float(clean)}
        if self.cost is not None:
            losses["cost_loss"] = self._cost_loss(self.cost, steady, batch, clean)
        if clean or self.cost is None or len(batch) < self.batch_size:
            return added(losses)
        config, everything = self.config, torch.arange(len(batch), device=scores.device)
        allowed = allowed_cells(everything, everything)  # (B, B), all but the given pairs
        with torch.no_grad():
            cost = self.cost(steady)
        if config.solver == "exact":
            moved = rematch(cost, allowed, config.mass, solver="exact")
        else:
            moved = dummy_point_plan(cost, allowed, config.mass, config.epsilon)
        targets = rematch_targets(moved.plan, allowed)  # its weights are ignored: all targets count alike
        rows, columns = symmetric_kl_loss(
            scores, targets.rows, targets.columns, config.temperature, allowed, config.floor
        )
        losses["rematch_loss"] = config.rematch_weight * 0.5 * (rows.sum() + columns.sum()) / len(scores)
        pair_ids = batch.pair_ids.to(scores.device)
        solved: dict[str, Tensor | float] = {
            "solver_failed": 1.0 - moved.converged.float(),
            "solver_iterations": float(moved.iterations),
            "solver_error": moved.marginal_error,
        }
        return added(losses, Rematch(pair_ids, pair_ids, moved.plan, steady, allowed), solved)

    def _cost_loss(self, network: PositionalCost, steady: Tensor, batch: PairBatch, clean: bool) -> Tensor:
        """Scalar mean cost of synthetic matches among a full batch of clean pairs."""
        least, most = self.config.synthetic_least, self.config.synthetic_most
        share = least + (most - least) * float(torch.rand(()))  # drawn in every step
        if not clean or len(batch) < self.batch_size:
            return steady.new_zeros(())
        scores, is_match = positional_problem(steady, share)
        return positional_loss(network(scores), is_match)
