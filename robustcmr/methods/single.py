"""What methods share that train one matcher and remember numbers of each pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method
from robustcmr.methods.pair_state import PairState


class RememberingMethod(Method):
    """One matcher, and columns of numbers by pair that are saved with the method."""

    columns: ClassVar[Mapping[str, float]] = {}
    """First value of every column by name."""

    def __init__(self, config: Any, matchers: Sequence[Matcher], n_pairs: int, batch_size: int) -> None:
        super().__init__(config, matchers, n_pairs, batch_size)
        self.matcher: Matcher = self.matchers[0]
        self.state = PairState(n_pairs, **self.columns)

    def state_dict(self) -> dict[str, Any]:
        """Epoch and columns."""
        return {**super().state_dict(), "pairs": self.state.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self.state.load_state_dict(state["pairs"])
