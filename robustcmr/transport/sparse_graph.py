"""Edges between rows and columns: checked, sorted, multiplied with vectors, and their maximum flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays
from robustcmr.errors import InfeasibleTransportError

_UNITS = 2**30  # integer units of the lesser side's mass: SciPy's flows have 32 bits


@dataclass(frozen=True)
class Graph:
    """E' edges that can carry mass, sorted by row, then by column; indices are int64."""

    kept: Tensor  # (E',) index of each among the edges given
    row_of: Tensor  # (E',)
    column_of: Tensor  # (E',)
    by_column: Tensor  # (E',) the order by column, then by row
    row_starts: Tensor  # (n + 1,) index of each row's first edge, and E'
    column_starts: Tensor  # (m + 1,) likewise, in the order by column

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of rows and columns."""
        return len(self.row_starts) - 1, len(self.column_starts) - 1

    @staticmethod
    def build(
        rows: Tensor, columns: Tensor, n: int, m: int, open_sides: tuple[Tensor, Tensor] | None = None
    ) -> Graph:
        """Check and sort E edges between n rows and m columns.

        Edges are ``rows`` (E,) within 0..n-1 and ``columns`` (E,) within 0..m-1. Those of rows or columns
        that are not open, (n,) and (m,) bool, are left out.

        Raises:
            ValueError: shapes, types or numbers do not fit, or an edge is listed twice.
        """
        if rows.ndim != 1 or rows.shape != columns.shape or rows.is_floating_point():
            raise ValueError(
                f"edges must be two vectors of whole numbers of one length, got {rows.dtype} of shape "
                f"{tuple(rows.shape)} and {columns.dtype} of shape {tuple(columns.shape)}"
            )
        rows, columns = rows.long(), columns.long()
        for name, index, size in (("rows", rows, n), ("columns", columns, m)):
            if len(index) and not (int(index.amin()) >= 0 and int(index.amax()) < size):
                raise ValueError(
                    f"{name} of edges must lie in 0..{size - 1}, got {int(index.amin())}..{int(index.amax())}"
                )
        keys, kept = (rows * m + columns).sort()
        if bool((keys[1:] == keys[:-1]).any()):
            raise ValueError("an edge is listed twice; list each once")
        if open_sides is not None:
            kept = kept[open_sides[0][rows[kept]] & open_sides[1][columns[kept]]]
        row_of, column_of = rows[kept], columns[kept]
        by_column = column_of.argsort(stable=True)
        return Graph(kept, row_of, column_of, by_column, _starts(row_of, n), _starts(column_of, m))


def _starts(index: Tensor, size: int) -> Tensor:
    counts = torch.bincount(index, minlength=size)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


class Product:
    """A matrix on the edges of a graph, for products from both sides: SciPy's on the CPU, torch's on CUDA."""

    def __init__(self, graph: Graph, values: Tensor) -> None:
        n, m = graph.shape
        by_column = graph.by_column
        make = _torch_matrix if values.is_cuda else _scipy_matrix
        self._by_row = make(graph.row_starts, graph.column_of, values, (n, m))
        self._by_column = make(graph.column_starts, graph.row_of[by_column], values[by_column], (m, n))

    def rows(self, x: Tensor) -> Tensor:
        """Return the row sums (n,) under factors (m,) of the columns."""
        return _times(self._by_row, x)

    def columns(self, x: Tensor) -> Tensor:
        """Return the column sums (m,) under factors (n,) of the rows."""
        return _times(self._by_column, x)


def _times(matrix: Any, x: Tensor) -> Tensor:
    found: Tensor = matrix @ x if isinstance(matrix, Tensor) else torch.from_numpy(matrix @ x.numpy())
    return found


def _scipy_matrix(starts: Tensor, index: Tensor, values: Tensor, shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_array

    kind = np.int32 if max(*shape, len(values)) < 2**31 else np.int64
    columns, rows = (x.numpy().astype(kind) for x in (index, starts))
    return csr_array((values.numpy(), columns, rows), shape=shape, copy=False)


def _torch_matrix(starts: Tensor, index: Tensor, values: Tensor, shape: tuple[int, int]) -> Any:
    return torch.sparse_csr_tensor(starts, index, values, shape, check_invariants=False)


@takes_arrays()
def sparse_feasible_mass(rows: Tensor, columns: Tensor, row_weights: Tensor, column_weights: Tensor) -> float:
    """Return the most mass that the edges can carry: a maximum flow, solved on the CPU.

    Args:
        rows: (E,) int64, row of each edge.
        columns: (E,) int64, column of each edge; each edge listed once.
        row_weights: (n,) >= 0.
        column_weights: (m,) >= 0.

    Returns:
        The bound, to (n + m) * 2**-30 of the lesser side's mass, because weights are rounded to integers.

    Raises:
        InfeasibleTransportError: a side has no weight.

    Example:
        >>> import torch
        >>> from robustcmr.transport import sparse_feasible_mass
        >>> half = torch.tensor([0.5, 0.5])
        >>> sparse_feasible_mass(torch.tensor([0, 1]), torch.tensor([0, 0]), half, half)
        0.5
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    r, c = (x.detach().cpu().double().numpy() for x in (row_weights, column_weights))
    lesser = min(float(r.sum()), float(c.sum()))
    if not lesser > 0:
        raise InfeasibleTransportError(
            "a transport problem has rows or columns whose weights are all zero; give each side some weight"
        )
    n, m = len(r), len(c)
    # no row sends more than all columns hold; beside a huge weight the others would be rounded away
    r, c = (_whole_units(np.minimum(weights, lesser), lesser) for weights in (r, c))
    i, j = rows.cpu().numpy(), columns.cpu().numpy()
    # the source is node 0, rows follow, then columns, and the sink is last
    start = np.concatenate([np.zeros(n, np.int64), 1 + i, 1 + n + np.arange(m)])
    end = np.concatenate([1 + np.arange(n), 1 + n + j, np.full(m, n + m + 1)])
    capacity = np.concatenate([r, np.minimum(r[i], c[j]), c]).astype(np.int32)
    network = csr_array((capacity, (start, end)), shape=(n + m + 2, n + m + 2))
    return float(maximum_flow(network, 0, n + m + 1).flow_value) * lesser / _UNITS


def _whole_units(weights: Any, lesser: float) -> Any:
    """Return weights in units, rounded so that cumulative sums are right, and at most all units."""
    totals = np.rint(np.cumsum(weights) * (_UNITS / lesser))
    units: Any = np.diff(totals, prepend=0.0)
    return np.minimum(units, _UNITS)
