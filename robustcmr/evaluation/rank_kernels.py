"""Counting who scores at least as high as the right answer, both ways in one pass, compiled by numba."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from robustcmr.types import IntArray

_WIDTH = 2048  # columns at a time: their thresholds and counts stay in the nearest cache
_ROWS = 4  # rows at a time: what is kept for a column is read and written once for all four


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled on first use and kept on disk, where there is a place to keep it."""
    try:
        compiled: Callable[..., Any] = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder that could be written to
        compiled = njit(nogil=True)(function)
    return compiled


def counts(scores: Tensor, best: Tensor, own: Tensor) -> tuple[Tensor, Tensor] | None:
    """Count the cells of every row and of every column that reach a threshold.

    Args:
        scores: (N, M) float32 or float64, contiguous on the CPU.
        best: (N,) of the same type, threshold of each row.
        own: (M,) of the same type, threshold of each column.

    Returns:
        (N,) int64 by row and (M,) int64 by column; None if a score is NaN.
    """
    cells = scores.detach().numpy()
    by_row, by_column = best.detach().numpy(), own.detach().numpy()
    n, m = cells.shape
    threads = max(1, min(torch.get_num_threads(), n // (16 * _ROWS)))
    cuts = [n * k // threads for k in range(threads + 1)]
    of_rows = np.zeros(n, np.int64)

    def part(k: int) -> npt.NDArray[np.int32] | None:
        of_columns = np.zeros(m, np.int32)
        nan = _count(cells, by_row, by_column, cuts[k], cuts[k + 1], of_rows, of_columns)
        return None if nan else of_columns

    if threads == 1:
        parts = [part(0)]
    else:
        with ThreadPoolExecutor(threads, "ranking") as pool:
            parts = list(pool.map(part, range(threads)))
    total: IntArray = np.zeros(m, np.int64)
    for of_columns in parts:
        if of_columns is None:
            return None
        total += of_columns
    return torch.from_numpy(of_rows), torch.from_numpy(total)


@_compiled
def _count(  # type: ignore[no-untyped-def]
    cells, best, own, first, end, of_rows, of_columns
):
    """Add to the counts what rows first to end hold; not 0 if there is a NaN among them."""
    nan = np.int32(0)
    whole = first + (end - first) // _ROWS * _ROWS
    for left in range(0, cells.shape[1], _WIDTH):
        thresholds = own[left : left + _WIDTH]
        columns = of_columns[left : left + _WIDTH]
        for i in range(first, whole, _ROWS):
            a, b = cells[i, left : left + _WIDTH], cells[i + 1, left : left + _WIDTH]
            c, d = cells[i + 2, left : left + _WIDTH], cells[i + 3, left : left + _WIDTH]
            best_a, best_b, best_c, best_d = best[i], best[i + 1], best[i + 2], best[i + 3]
            in_a = in_b = in_c = in_d = np.int32(0)
            for j in range(len(thresholds)):
                x, y, z, w, t = a[j], b[j], c[j], d[j], thresholds[j]
                in_a = np.int32(in_a + (x >= best_a))
                in_b = np.int32(in_b + (y >= best_b))
                in_c = np.int32(in_c + (z >= best_c))
                in_d = np.int32(in_d + (w >= best_d))
                columns[j] += np.int32(x >= t) + np.int32(y >= t) + np.int32(z >= t) + np.int32(w >= t)
                nan = np.int32(nan | (x != x) | (y != y) | (z != z) | (w != w))
            of_rows[i] += in_a
            of_rows[i + 1] += in_b
            of_rows[i + 2] += in_c
            of_rows[i + 3] += in_d
        for i in range(whole, end):
            row = cells[i, left : left + _WIDTH]
            inside = np.int32(0)
            for j in range(len(thresholds)):
                inside = np.int32(inside + (row[j] >= best[i]))
                columns[j] += np.int32(row[j] >= thresholds[j])
                nan = np.int32(nan | (row[j] != row[j]))
            of_rows[i] += inside
    return nan
