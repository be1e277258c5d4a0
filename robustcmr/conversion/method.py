"""What stands in a configuration for the training of a network that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from robustcmr.errors import ConfigError
from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method
from robustcmr.options import Options
from robustcmr.types import PairBatch, StepResult


class TrainedElsewhere(Method):
    """A converted network's method: one matcher that is measured as it is, and never trained.

    Raises:
        ConfigError: always when it is built, which happens only where training would begin.
    """

    Config: ClassVar[type[Options]] = Options

    def __init__(self, config: Any, matchers: Sequence[Matcher], n_pairs: int, batch_size: int) -> None:
        super().__init__(config, matchers, n_pairs, batch_size)
        self._refuse()

    def training_step(self, batches: Mapping[str, PairBatch]) -> StepResult:
        """Refuse; see the class."""
        del batches
        self._refuse()

    @staticmethod
    def _refuse() -> NoReturn:
        raise ConfigError(
            "this network was trained elsewhere and converted, so there is no training to go on with; "
            "measure it by 'robustcmr eval', or train a new one by 'robustcmr train'"
        )


NAME = f"{TrainedElsewhere.__module__}:{TrainedElsewhere.__qualname__}"
"""How a configuration names it."""
