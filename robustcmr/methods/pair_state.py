"""What a method remembers of each pair: named numbers, by pair id."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from robustcmr.types import FloatArray, PairBatch


class PairState:
    """Named columns of one float32 a pair, kept on the CPU and saved with the method.

    Args:
        n_pairs: N.
        columns: first value of every column by name, such as ``belief=1.0``.

    Example:
        >>> state = PairState(3, belief=1.0)
        >>> state["belief"]
        tensor([1., 1., 1.])
    """

    def __init__(self, n_pairs: int, **columns: float) -> None:
        self._columns = {name: torch.full((n_pairs,), value) for name, value in columns.items()}

    def __getitem__(self, name: str) -> Tensor:
        """Return a column, (N,) float32 on the CPU."""
        return self._columns[name]

    def __setitem__(self, name: str, values: Tensor | FloatArray) -> None:
        """Replace a known column by (N,) values."""
        fresh = torch.as_tensor(np.asarray(values) if not isinstance(values, Tensor) else values)
        self._columns[name].copy_(fresh.detach())

    def of(self, name: str, batch: PairBatch) -> Tensor:
        """Return a column's values of a batch, (B,) on its device."""
        return self._columns[name][batch.pair_ids.cpu()].to(batch.pair_ids.device)

    def put(self, name: str, batch: PairBatch, values: Tensor) -> None:
        """Set a column's values of a batch, (B,) on any device."""
        self._columns[name][batch.pair_ids.cpu()] = values.detach().float().cpu()

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of all columns."""
        return {name: column.clone() for name, column in self._columns.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for name in self._columns:
            self._columns[name].copy_(state[name])
