"""Iterations of a batch of partial problems in one launch of ``triton_partial_kernel``.

On a GPU one iteration of ``scaling`` takes some fifty small kernels of a few microseconds each, and a look at
the error waits for all of them. Here one program a problem iterates, looks at the error after every fourth
iteration, and stops when its problem is solved or its kernel must be computed again. Kernels and Newton steps
remain tensor operations.

A kernel of n = m = 1,024 takes 4 MiB and is read from the L2 in blocks of 8,192 numbers, twice an iteration;
one of 128 x 128 fits the L1, and one of at most 64 x 128 stays in registers.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcmr.transport.problems import Problem
from robustcmr.transport.rules import Array
from robustcmr.transport.scaling import STRAYED, State, Sweeper
from robustcmr.transport.triton_support import Attempt, available, on, power_of_two

LARGEST_SIDE = 1024
_CELLS = {torch.float32: 8192, torch.float64: 4096}  # of a block: 32 or 64 registers a thread
_WARPS = 8

_attempt = Attempt("Triton failed, so the scaling of partial plans takes tensor operations and longer")


def sweeper(problem: Problem) -> Sweeper | None:
    """Return the solver of many iterations in one launch; None where a problem or device does not fit."""
    cost = problem.cost
    fits = max(cost.shape[-2:]) <= LARGEST_SIDE and cost.dtype in _CELLS
    return partial(_attempt, _launch) if fits and not _attempt.broken and available(cost.device) else None


def _launch(
    kernel: Any, row_sums: Array, level: Array, most: int, tolerance: float
) -> tuple[State, Array, int]:
    """One program a problem."""
    from robustcmr.transport.triton_partial_kernel import partial_sweeps

    K, (rows, columns) = kernel.values, kernel.sides
    B, n, m = K.shape

    def alike(x: Array | float, *size: int) -> Tensor:
        like_kernel = torch.as_tensor(x, dtype=K.dtype, device=K.device)
        return like_kernel.expand(B, 1, *size).contiguous() if size else like_kernel.contiguous()

    weights, anchors = ((alike(x, n), alike(y, m)) for x, y in zip(rows[:2], columns[:2], strict=True))
    sums, levels = alike(row_sums).clone(), alike(level).clone()
    u, v, column_sums = (K.new_empty(B, 1, size) for size in (n, m, m))
    errors, counts = K.new_empty(B, 1), torch.empty(B, dtype=torch.int32, device=K.device)
    BM = power_of_two(m)
    BR = min(power_of_two(n), max(1, _CELLS[K.dtype] // BM))
    with on(K):
        partial_sweeps[(B,)](
            K.contiguous(), *weights, *anchors, alike(rows.mass), sums, levels, u, v, column_sums,
            errors, counts, n, m, most, tolerance, STRAYED,
            NB=power_of_two(n) // BR, BR=BR, BM=BM, num_warps=_WARPS,
        )  # fmt: skip
    vectors: tuple[Array, ...] = u, v, levels, sums, column_sums, errors
    if isinstance(row_sums, np.ndarray):
        vectors = tuple(x.numpy() for x in vectors)
    return State(*vectors[:5]), vectors[5], int(counts.max())
