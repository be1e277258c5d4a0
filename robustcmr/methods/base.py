"""What a method is: how many matchers it trains, what it plans each epoch and what it minimises each step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor, nn

from robustcmr.matchers.base import Matcher
from robustcmr.options import Options
from robustcmr.types import EpochPlan, FloatArray, PairBatch, StepResult

Evidence = Callable[[Tensor, PairBatch], Tensor]


class Scorer(Protocol):
    """Runs over the training set in evaluation mode and gathers one number a pair."""

    def __call__(self, evidence: Evidence, matcher: int = 0) -> FloatArray:
        """Apply ``evidence(scores (B, B), batch) -> (B,)`` to shuffled batches.

        Args:
            evidence: what to compute from the score matrix of a batch of given pairs.
            matcher: which of the method's matchers scores.

        Returns:
            (N,) float32 in the order of pair ids.
        """
        ...


class Method(ABC):
    """A way of training matchers, built as ``cls(config: cls.Config, matchers, n_pairs)``.

    Args:
        config: the method's own options.
        matchers: ``n_matchers`` matchers, ready to be called.
        n_pairs: number of given training pairs N.
    """

    Config: ClassVar[type[Options]]
    n_matchers: ClassVar[int] = 1

    def __init__(self, config: Any, matchers: Sequence[Matcher], n_pairs: int) -> None:
        self.config = config
        self.matchers = tuple(matchers)
        self.n_pairs = n_pairs
        self.epoch = 0

    @property
    def auxiliary(self) -> Mapping[str, nn.Module]:
        """Networks the method trains beside the matchers, by name."""
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser shall train, as torch parameter groups; a group may set its own ``lr``."""
        modules = [*self.matchers, *self.auxiliary.values()]
        return [{"params": [p for p in module.parameters() if p.requires_grad]} for module in modules]

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """Decide which pairs the epoch visits; by default all of them, in one stream.

        Args:
            epoch: from 0.
            scorer: gives per-pair evidence over the training set.
        """
        del scorer
        self.epoch = epoch
        return EpochPlan({"all": np.arange(self.n_pairs, dtype=np.int64)})

    @abstractmethod
    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """The loss of one step, given one batch a stream of the plan."""

    def state_dict(self) -> dict[str, Any]:
        """What must survive a stop besides networks: plain values and tensors."""
        return {"epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.epoch = int(state["epoch"])
