"""``torch.compile`` for the parts of a matcher and the losses, and the cost of its warm-up."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence

import torch

from robustcmr.matchers.base import Matcher

logger = logging.getLogger("robustcmr")

_WATCHED = 12  # first steps, from which the cost of compilation is estimated


def compile_parts(matchers: Sequence[Matcher]) -> None:
    """Compile the encoders and other parts of matchers in place, when they are first used.

    Names of weights stay. A part that cannot be compiled, such as without a compiler, runs as it is, with a
    warning from torch.
    """
    torch._dynamo.config.suppress_errors = True
    for matcher in matchers:
        for part in matcher.children():
            part.compile(dynamic=True)


class WarmUp:
    """Estimates how much time the first steps lost to compilation, and logs it once."""

    def __init__(self) -> None:
        self._steps: list[float] = []
        self.seconds: float | None = None

    def step(self, seconds: float) -> None:
        """Record the duration of a step."""
        if self.seconds is not None:
            return
        self._steps.append(seconds)
        if len(self._steps) < _WATCHED:
            return
        usual = statistics.median(self._steps)
        self.seconds = sum(max(0.0, step - 2 * usual) for step in self._steps)
        words = "torch.compile took %.1f s of the first %d steps; a step then takes %.3f s"
        logger.info(words, self.seconds, _WATCHED, usual)
