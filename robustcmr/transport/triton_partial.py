"""Scalings of a batch of partial problems in one launch: what surrounds ``triton_partial_kernel``.

On a GPU the iteration of ``scaling`` is made of small kernels: some fifty for one scaling of rows and
columns, each a few microseconds of launching for less of work, and a look at the error, which waits for all
of them. Here one program a problem does scalings, looks at the error after every fourth, and stops when its
problem is solved or its kernel must be renewed; what remains for tensor operations is to renew kernels and to
take Newton steps, whose equations are solved in float64 by the library.

A kernel of n = m = 1,024 is 4 MiB, and a program has one multiprocessor, so it is read in blocks of 8,192
numbers, twice a scaling: from the L2, at 64 bytes a clock, that would be 80 microseconds, against 200 for
fifty launches. One of n = 128 fits the L1, and one of 64 x 128 or less stays in registers. Programs of 132
problems run side by side on an H200. Scalings so much cheaper move the point from which Newton steps pay: see
``PATIENCE``. The times in this paragraph are worked out, not measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robustcmr.transport.problems import Problem
from robustcmr.transport.rules import Array, Side
from robustcmr.transport.triton_support import Attempt, available, power_of_two

LARGEST_SIDE = 1024
PATIENCE = 64  # scalings before the first Newton step, which takes a few milliseconds
_CELLS = {torch.float32: 8192, torch.float64: 4096}  # of a block: 32 or 64 registers a thread
_WARPS = 8

_attempt = Attempt("the scaling of partial plans")


class Sweeps(NamedTuple):
    """Where the scalings of a batch ended, each of what ``scaling`` holds.

    Attributes:
        rows: (B, 1, n) factors.
        columns: (B, 1, m) factors.
        level: (B, 1, 1) factor of all cells.
        row_sums: (B, 1, n) sums of the kernel under the factors of the columns.
        column_sums: (B, 1, m) sums of the kernel under the factors of the rows.
        error: (B, 1) as ``scaling`` measures it.
        scalings: most scalings that a problem took.
    """

    rows: Array
    columns: Array
    level: Array
    row_sums: Array
    column_sums: Array
    error: Array
    scalings: int


# From the kernel (B, n, m), what rows and columns are asked for, the sums of rows (B, 1, n), the level
# (B, 1, 1), the most scalings, the tolerance, and the product of scalings from which on the kernel must be
# renewed. None where the kernels of the GPU cannot be built.
Sweeper = Callable[[Tensor, Side, Side, Array, Array, int, float, float], Sweeps | None]


def sweeper(problem: Problem) -> Sweeper | None:
    """What scales a batch of partial problems in one launch; None where that is not possible."""
    cost = problem.cost
    fits = max(cost.shape[-2:]) <= LARGEST_SIDE and cost.dtype in _CELLS
    return _sweeps if fits and not _attempt.broken and available(cost.device) else None


def _sweeps(
    K: Tensor,
    rows: Side,
    columns: Side,
    row_sums: Array,
    level: Array,
    most: int,
    tolerance: float,
    farthest: float,
) -> Sweeps | None:
    given = [K, *_spread(rows, K, 1), *_spread(columns, K, 2), _as(rows.mass, K), row_sums, level]
    found: Sweeps | None = _attempt(_launch, *given, most, tolerance, farthest)
    return found


def _launch(
    K: Tensor,
    row_weights: Tensor,
    row_anchors: Tensor,
    column_weights: Tensor,
    column_anchors: Tensor,
    masses: Tensor,
    row_sums: Array,
    level: Array,
    most: int,
    tolerance: float,
    farthest: float,
) -> Sweeps:
    """One program a problem."""
    from robustcmr.transport.triton_partial_kernel import partial_sweeps

    B, n, m = K.shape
    sums, levels = _as(row_sums, K).clone(), _as(level, K).clone()
    u, v, column_sums = (K.new_empty(B, 1, size) for size in (n, m, m))
    errors, counts = K.new_empty(B, 1), torch.empty(B, dtype=torch.int32, device=K.device)
    BM = power_of_two(m)
    BR = min(power_of_two(n), max(1, _CELLS[K.dtype] // BM))
    with torch.cuda.device(K.device.index if K.is_cuda else -1):
        partial_sweeps[(B,)](
            K.contiguous(), row_weights, column_weights, row_anchors, column_anchors, masses, sums, levels,
            u, v, column_sums, errors, counts, n, m, most, tolerance, farthest,
            NB=power_of_two(n) // BR, BR=BR, BM=BM, num_warps=_WARPS,
        )  # fmt: skip
    found = u, v, levels, sums, column_sums, errors
    scalings = int(counts.max())
    if isinstance(row_sums, np.ndarray):
        return Sweeps._make([*(x.numpy() for x in found), scalings])
    return Sweeps._make([*found, scalings])


def _spread(side: Side, K: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Weights and anchors of a side, each (B, 1, size), contiguous."""
    shape = len(K), 1, K.shape[axis]
    weights, anchors = (_as(x, K).expand(shape).contiguous() for x in (side.weights, side.anchor))
    return weights, anchors


def _as(x: Array | float, K: Tensor) -> Tensor:
    """A vector of ``scaling`` as a contiguous tensor like the kernel."""
    return torch.as_tensor(x, dtype=K.dtype, device=K.device).contiguous()
