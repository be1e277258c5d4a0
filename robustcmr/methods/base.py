"""What a method is: how many matchers it trains, what it plans each epoch and what it minimises each step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor, nn

from robustcmr.matchers.base import Matcher
from robustcmr.options import Options
from robustcmr.types import (
    Division,
    EpochPlan,
    FloatArray,
    LabelEstimate,
    LabelledVectors,
    PairBatch,
    StepResult,
)

Evidence = Callable[[Tensor, PairBatch], Tensor]


class Scorer(Protocol):
    """Runs over the training set in evaluation mode and gathers what is said of each pair."""

    def __call__(self, evidence: Evidence, matcher: Matcher) -> FloatArray:
        """Apply ``evidence(scores (B, B), batch) -> (B,) or (B, K)`` to shuffled batches.

        Args:
            evidence: what to compute from the score matrix of a batch of given pairs.
            matcher: what scores; one of the method's matchers, or a copy of one.

        Returns:
            (N,) or (N, K) float32 in the order of pair ids.
        """
        ...

    def vectors(self, matcher: Matcher) -> LabelledVectors:
        """Encode the whole labelled training set, unaugmented, on the matcher's device.

        Args:
            matcher: what encodes; it must give a pooled vector of each image and text.
        """
        ...


class Method(ABC):
    """A way of training matchers, built as ``cls(config: cls.Config, matchers, n_pairs, batch_size)``.

    Args:
        config: the method's own options.
        matchers: ``n_matchers`` matchers, ready to be called.
        n_pairs: number of given training pairs N.
        batch_size: largest number of pairs B of a batch.
    """

    Config: ClassVar[type[Options]]
    n_matchers: ClassVar[int] = 1
    track: ClassVar[str] = "pairs"
    """``pairs`` or ``labels``: what may be wrong in the data it is for; see :class:`LabelMethod`."""

    def __init__(self, config: Any, matchers: Sequence[Matcher], n_pairs: int, batch_size: int) -> None:
        self.config = config
        self.matchers = tuple(matchers)
        self.n_pairs = n_pairs
        self.batch_size = batch_size
        self.epoch = 0

    @property
    def auxiliary(self) -> Mapping[str, nn.Module]:
        """Networks the method trains beside the matchers, by name."""
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser shall train, as torch parameter groups.

        A group may set its own ``lr``, and an ``lr_factor`` that multiplies it. By default the matchers'
        own groups, and one for each auxiliary network.
        """
        groups = [group for matcher in self.matchers for group in matcher.parameter_groups()]
        for network in self.auxiliary.values():
            groups.append({"params": [p for p in network.parameters() if p.requires_grad]})
        return groups

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """Decide which pairs the epoch visits; by default all of them, in one stream.

        Args:
            epoch: from 0.
            scorer: gives per-pair evidence over the training set.
        """
        del scorer
        self.epoch = epoch
        return EpochPlan({"all": np.arange(self.n_pairs, dtype=np.int64)})

    def estimate(self, scorer: Scorer) -> Division | LabelEstimate | None:
        """What the method believes of the pairs with the matchers as they are; None if it holds no belief.

        Which pairs are clean, on the pairs track; of which class each is, on the labels track.
        """
        del scorer
        return None

    @abstractmethod
    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """The loss of one step, given one batch a stream of the plan."""

    def state_dict(self) -> dict[str, Any]:
        """What must survive a stop besides networks: plain values and tensors."""
        return {"epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.epoch = int(state["epoch"])
