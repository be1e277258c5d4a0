"""One matcher that sees all pairs in one group and remembers numbers of each pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from robustcmr.matchers.base import Matcher
from robustcmr.methods.base import Method
from robustcmr.methods.pair_state import PairState


class OneGroupMethod(Method):
    """Base of methods that label or weigh the pairs of mixed batches instead of drawing them apart."""

    columns: ClassVar[Mapping[str, float]]
    """First value of every remembered number by name; see :class:`PairState`."""

    def __init__(self, config: Any, matchers: Sequence[Matcher], n_pairs: int, batch_size: int) -> None:
        super().__init__(config, matchers, n_pairs, batch_size)
        self.matcher = self.matchers[0]
        self.state = PairState(n_pairs, **self.columns)

    def state_dict(self) -> dict[str, Any]:
        """Epoch and remembered numbers."""
        return {**super().state_dict(), "pairs": self.state.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self.state.load_state_dict(state["pairs"])
