"""The contract of a method: the matchers it trains, the plan of an epoch and the loss of a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor, nn

from robustcmr.matchers.base import Matcher
from robustcmr.methods.pair_state import PairState
from robustcmr.options import Options
from robustcmr.types import (
    Division,
    EpochPlan,
    FloatArray,
    IntArray,
    LabelEstimate,
    LabelledVectors,
    PairBatch,
    PairContents,
    PairVectors,
    StepResult,
)

Evidence = Callable[[Tensor, PairBatch], Tensor]


class Scorer(Protocol):
    """A pass over the training set in evaluation mode that gathers values of each pair."""

    def __call__(self, evidence: Evidence, matcher: Matcher) -> FloatArray:
        """Apply ``evidence(scores (B, B), batch) -> (B,) or (B, K)`` to shuffled batches of given pairs.

        Args:
            evidence: a function of a batch's score matrix.
            matcher: one of the method's matchers, or a copy of one.

        Returns:
            (N,) or (N, K) float32 in the order of pair ids.
        """
        ...

    def with_vectors(
        self, evidence: Evidence, matcher: Matcher, on_disk: bool = False
    ) -> tuple[FloatArray, PairVectors]:
        """Apply ``evidence`` as above, and keep the item vectors of all pairs: 2 D bytes a caption or image.

        ``on_disk`` keeps them in a temporary file instead of memory.
        """
        ...

    def contents(self) -> PairContents:
        """Read what all given pairs hold: words and image features, without a matcher."""
        ...

    def vectors(self, matcher: Matcher) -> LabelledVectors:
        """Encode the whole labelled training set by pooled vectors, unaugmented, on the matcher's device."""
        ...


class Method(ABC):
    """A way of training matchers, built as ``cls(config: cls.Config, matchers, n_pairs, batch_size)``.

    With ``takes_width`` it is also given ``width=D``, the width of the matchers' item vectors.

    Args:
        config: the method's own options.
        matchers: ``n_matchers`` matchers, ready to be called.
        n_pairs: number of given training pairs N.
        batch_size: largest number of pairs B of a batch.
    """

    Config: ClassVar[type[Options]]
    n_matchers: ClassVar[int] = 1
    takes_width: ClassVar[bool] = False
    """Whether it is built with ``width``, for networks that read ``item_vectors``; not needed on labels."""
    track: ClassVar[str] = "pairs"
    """``pairs`` (some are mismatched) or ``labels`` (some classes are wrong, see :class:`LabelMethod`)."""
    columns: ClassVar[Mapping[str, float]] = {}
    """Numbers to keep of each pair in ``self.state``, which is saved: first value of each column by name."""

    def __init__(self, config: Any, matchers: Sequence[Matcher], n_pairs: int, batch_size: int) -> None:
        self.config = config
        self.matchers = tuple(matchers)
        self.n_pairs = n_pairs
        self.batch_size = batch_size
        self.state = PairState(n_pairs, **self.columns)
        self.epoch = 0

    @cached_property
    def matcher(self) -> Matcher:
        """The first matcher, of most methods the only one."""
        return self.matchers[0]

    @property
    def auxiliary(self) -> Mapping[str, nn.Module]:
        """Networks besides the matchers, by name; they are saved and restored with them."""
        return {}

    @property
    def restarts(self) -> bool:
        """Whether some epoch's plan may restart the training; its first weights are then kept on disk."""
        return False

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameter groups for the optimiser: the matchers' own, and one for each auxiliary network.

        A group may set its own ``lr``, and an ``lr_factor`` that multiplies it.
        """
        groups = [group for matcher in self.matchers for group in matcher.parameter_groups()]
        for network in self.auxiliary.values():
            groups.append({"params": [p for p in network.parameters() if p.requires_grad]})
        return groups

    def start_from(self, clean_probability: FloatArray) -> bool:
        """Weigh pairs by these probabilities until the method has its own; called before training begins.

        Args:
            clean_probability: (N,) in 0..1, an earlier estimate such as an audit's.

        Returns:
            Whether the method does so; by default it does not weigh pairs.
        """
        del clean_probability
        return False

    def plan_epoch(self, epoch: int, scorer: Scorer) -> EpochPlan:
        """Decide which pairs the epoch visits; by default all of them, in one group.

        Args:
            epoch: from 0.
            scorer: gives per-pair evidence over the training set.
        """
        del scorer
        self.epoch = epoch
        return EpochPlan({"all": np.arange(self.n_pairs, dtype=np.int64)})

    def estimate(self, scorer: Scorer) -> Division | LabelEstimate | None:
        """Estimate which pairs are clean, or the class of each (labels), with the current matchers.

        None where the method makes no estimate.
        """
        del scorer
        return None

    def partners(self, captions: IntArray, scorer: Scorer) -> tuple[IntArray, FloatArray] | None:
        """Return the images of the whole set that it would learn some captions with, for reports.

        Args:
            captions: (k,) pair ids.
            scorer: as for :meth:`estimate`.

        Returns:
            (k, m) images by number, likeliest first, and the chance of each; None for a method that draws
            none.
        """
        del captions, scorer
        return None

    def not_negatives(self, batch: PairBatch) -> Tensor | None:
        """(B, B) cells that are no negatives, those of the same image; None with the option ``released``."""
        return None if self.config.released else batch.same_image

    @abstractmethod
    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """Return the loss of one step, given one batch for each group of the plan."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state besides networks that a resumed run needs: plain values and tensors."""
        pairs = {"pairs": self.state.state_dict()} if self.columns else {}
        return {"epoch": self.epoch, **pairs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.epoch = int(state["epoch"])
        if self.columns:
            self.state.load_state_dict(state["pairs"])
