"""Co-training: two matchers side by side, each of which divides the pairs for the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from robustcmr.matchers.base import Matcher, evaluation_mode, item_vectors
from robustcmr.methods.base import Method, Scorer
from robustcmr.methods.step_results import added, division_metrics, joined
from robustcmr.options import Options
from robustcmr.selection.divide import divide_by_mixture
from robustcmr.selection.released import gaussian_as_released
from robustcmr.types import Division, EpochPlan, FloatArray, PairBatch, StepResult


class PeerOptions(Options):
    """Options of every method that trains two matchers; epochs count from 0."""

    warmup_epochs: int = Field(2, ge=0, description="epochs on all given pairs before the first division")
    threshold: float = Field(
        0.5, gt=0.0, lt=1.0, description="a pair is clean if its probability exceeds this"
    )
    released: bool = Field(
        False, description="follow the released code where it differs from the paper; see the method"
    )


class PeerMethod(Method):
    """Two matchers; each learns from the clean and the suspected pairs that the other has divided.

    An epoch after the warm-up has the groups ``clean_0``, ``noisy_0``, ``clean_1`` and ``noisy_1``: those of
    matcher 0 come from the probabilities of matcher 1, and the other way round. One optimiser step minimises
    the losses of all four batches; as no weight is shared, it does what a step a matcher does.

    A subclass gives evidence, warm-up loss and the loss of a batch, and may divide otherwise
    (:meth:`divided`), group otherwise (:meth:`groups`) or let a group join later (:meth:`first_epoch`).
    """

    n_matchers: ClassVar[int] = 2
    columns: ClassVar[Mapping[str, float]] = {"clean_0": 1.0, "clean_1": 1.0}  # probabilities by each matcher
    config: PeerOptions

    @abstractmethod
    def evidence(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """(B,) evidence against each pair, from (B, B) scores."""

    @abstractmethod
    def warmup_loss(self, scores: Tensor, batch: PairBatch) -> Tensor:
        """Scalar loss of a batch of all pairs."""

    @abstractmethod
    def learn(self, own: int, group: str, batch: PairBatch) -> dict[str, Tensor]:
        """Scalar losses by name of matcher ``own`` on a batch of its ``group``, such as ``clean``."""

    def divided(self, evidence: FloatArray) -> Division:
        """Divide all pairs by one matcher's evidence (N,)."""
        if self.config.released:
            return gaussian_as_released(evidence, self.config.threshold)
        return divide_by_mixture(evidence, "gaussian", self.config.threshold, always=True)

    def groups(self, division: Division) -> dict[str, npt.NDArray[np.bool_]]:
        """(N,) members of each group of a matcher, by its peer's division."""
        return {"clean": division.is_clean, "noisy": ~division.is_clean}

    def first_epoch(self, group: str) -> int:
        """First epoch, from 0, of a group such as ``noisy``; before it the group costs no time."""
        del group
        return 0

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """All pairs while warming up; then the groups of both matchers that take part by now.

        Where these have no pairs at all, every group takes part.
        """
        if epoch < self.config.warmup_epochs:
            return super().plan_epoch(epoch, scorer)
        self.epoch = epoch
        divisions = self._divisions(scorer)
        for k, division in enumerate(divisions):
            self.state[f"clean_{k}"] = division.clean_probability.astype(np.float32)
        ids = np.arange(self.n_pairs, dtype=np.int64)
        groups = {
            f"{name}_{own}": ids[chosen]
            for own in (0, 1)
            for name, chosen in self.groups(divisions[1 - own]).items()
        }
        joined_by_now = {
            name: members
            for name, members in groups.items()
            if epoch >= self.first_epoch(name.rpartition("_")[0])
        }
        if any(len(members) for members in joined_by_now.values()):
            groups = joined_by_now
        both = mean_division(divisions, self.config.threshold)
        return EpochPlan(groups, division_metrics(both), both)

    def estimate(self, scorer: Scorer) -> Division:
        """The mean of both matchers' divisions."""
        return mean_division(self._divisions(scorer), self.config.threshold)

    def _divisions(self, scorer: Scorer) -> list[Division]:
        return [self.divided(scorer(self.evidence, matcher)) for matcher in self.matchers]

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """The warm-up loss of both matchers, or their losses on the batches of their groups."""
        if self.epoch < self.config.warmup_epochs:
            batch = batches["all"]
            scored = [matcher(batch.images, batch.texts) for matcher in self.matchers]
            return joined([added({"warmup_loss": self.warmup_loss(scores, batch)}) for scores in scored])
        parts = []
        for name, batch in batches.items():
            group, _, own = name.rpartition("_")
            parts.append(added(self.learn(int(own), group, batch)))
        return joined(parts)

    def peer_probability(self, own: int, batch: PairBatch) -> Tensor:
        """(B,) clean probability of a batch by the peer of matcher ``own``."""
        return self.state.of(f"clean_{1 - own}", batch)


@torch.no_grad()
def steady_scores(matcher: Matcher, batch: PairBatch) -> Tensor:
    """Scores of a batch in evaluation mode and without gradient, (B, B) float32."""
    with evaluation_mode(matcher):
        scores: Tensor = matcher(batch.images, batch.texts)
    return scores.float()


@torch.no_grad()
def steady_encoding(matcher: Matcher, batch: PairBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, B), image vectors (B, D) and caption vectors (B, D) of a batch, as :func:`steady_scores`.

    The vectors have unit length, see :func:`robustcmr.matchers.base.item_vectors`; all are float32.
    """
    with evaluation_mode(matcher):
        images, texts = matcher.encode_images(batch.images), matcher.encode_texts(batch.texts)
        scores = matcher.score(images, texts)
    return scores.float(), item_vectors(images).float(), item_vectors(texts).float()


def mean_division(divisions: Sequence[Division], threshold: float) -> Division:
    """Return the mean of several divisions of the same pairs; without an interval, as they depend."""
    clean = np.mean([each.clean_probability for each in divisions], axis=0)
    evidence = np.mean([each.evidence for each in divisions], axis=0)
    rates = [each.noise_rate for each in divisions if each.noise_rate is not None]
    rate = float(np.mean(rates)) if len(rates) == len(divisions) else None
    reason = " | ".join(dict.fromkeys(each.reason for each in divisions))
    bimodal = all(each.bimodal for each in divisions)
    return Division(clean, threshold, clean > threshold, evidence, bimodal, reason, rate, None)
