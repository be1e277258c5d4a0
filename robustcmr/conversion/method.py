"""The method in the configuration of a network that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from robustcmr.errors import ConfigError
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method
from robustcmr.options import Options
from robustcmr.types import PairBatch, StepResult


class TrainedElsewhere(Method):
    """The method of a converted network, which is evaluated and never trained.

    Raises:
        ConfigError: always when it is built, which only training does.
    """

    Config: ClassVar[type[Options]] = Options

    def __init__(self, config: Any, matchers: Sequence[Matcher], n_pairs: int, batch_size: int) -> None:
        super().__init__(config, matchers, n_pairs, batch_size)
        self.training_step({})

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """Refuse to train; see the class."""
        del batches
        raise ConfigError(
            "this network was trained elsewhere and converted, so there is no training to resume; "
            "evaluate it with 'robustcmr eval', or train a new one with 'robustcmr train'"
        )


NAME = f"{TrainedElsewhere.__module__}:{TrainedElsewhere.__qualname__}"
"""Its name in a configuration."""
