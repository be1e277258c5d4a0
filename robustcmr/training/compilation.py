"""``torch.compile`` for the parts of a matcher and the losses, and what its warm-up costs."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence

import torch

from robustcmr.matchers.base import Matcher

logger = logging.getLogger("robustcmr")

_WATCHED = 12  # steps by which the warm-up is judged


def compile_parts(matchers: Sequence[Matcher]) -> None:
    """Have the encoders and other parts of matchers be compiled when they are first used.

    Names of weights stay. A part that cannot be compiled, as without a compiler, runs as it is, and torch
    warns.

    Args:
        matchers: changed in place.
    """
    torch._dynamo.config.suppress_errors = True
    for matcher in matchers:
        for part in matcher.children():
            part.compile(dynamic=True)


class WarmUp:
    """Finds out from the first steps how much time they lost to compilation, and says so once."""

    def __init__(self) -> None:
        self._steps: list[float] = []
        self.seconds: float | None = None

    def step(self, seconds: float) -> None:
        """Take note of a step.

        Args:
            seconds: that it took.
        """
        if self.seconds is not None:
            return
        self._steps.append(seconds)
        if len(self._steps) < _WATCHED:
            return
        usual = statistics.median(self._steps)
        self.seconds = sum(max(0.0, step - 2 * usual) for step in self._steps)
        logger.info(
            "torch.compile took %.1f s of the first %d steps; a step then takes %.3f s",
            *(self.seconds, _WATCHED, usual),
        )
